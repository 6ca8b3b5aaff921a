"""The client of a Corral server: whatever a door, such as the command line, needs to use its HTTP API.

Belongs here: finding a server, calling it, batch files, submitting, following a batch, collecting its outputs,
holds of GPUs.
Does not belong here: printing, questions to a person, starting a server, how the server does the work.
May import: `corral.cluster` (for YAML with positions), `corral.engines.inputs`, `corral.engine_kinds`,
`corral.engine_facts`, `corral.requests`, `corral.files`, `corral.wire`, `corral.processes`, `corral.printable`,
`corral.data_dir`, `corral.units`, `corral.work`, `corral.errors`.
"""
