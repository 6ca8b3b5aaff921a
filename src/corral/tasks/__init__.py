"""The queue: a task's life, kept in PostgreSQL, and the loop that gives tasks to slots.

Belongs here: lifecycle (pure), store, dispatcher, artifacts, retention, outputs that are written to folders.
Does not belong here: how an engine works, HTTP, the command line.
May import: `corral.slots`, `corral.scheduling`, `corral.hardware`, `corral.cluster`, `corral.requests`, `corral.files`,
`corral.hours`, `corral.engine_kinds`, `corral.wire`, `corral.work`, `corral.units`, `corral.errors`.
"""
