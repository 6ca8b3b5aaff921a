"""The batch file: text in, tasks for the HTTP API out, every problem at once with line and column.

Belongs here: the file's shape, its checks, its JSON Schema; files that it takes in, tasks that it stands for, what is
drawn for them.
Does not belong here: sending anything; how a server stores it.
May import: `corral.cluster` (for YAML with positions), `corral.engines.inputs`, `corral.engines.converting`,
`corral.engine_kinds`, `corral.engine_facts`, `corral.requests`, `corral.units`, `corral.work`, `corral.errors`.
"""
