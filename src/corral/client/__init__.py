"""The client of a Corral server: whatever a door, such as the command line, needs to use its HTTP API.

Belongs here: finding a server, calling it, submitting, following a batch, collecting its outputs, holds of GPUs.
Does not belong here: printing, questions to a person, starting a server, how the server does the work.
May import: `corral.batchfile`, `corral.studio`, `corral.files`, `corral.wire`, `corral.processes`,
`corral.printable`, `corral.data_dir`, `corral.work`, `corral.errors`.
"""
