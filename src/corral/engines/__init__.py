"""The programs that do the work, one folder per engine, all behind `corral.work.Engine`.

Belongs here: adapters, the worker processes of local engines (`local` is the server's side, `worker` the other), inputs
of each engine.
Does not belong here: which task goes where, the queue, the database.
May import: `corral.data_dir`, `corral.engine_facts`,
`corral.engine_kinds`, `corral.cluster`, `corral.files`, `corral.kubernetes`, `corral.narrowing`,
`corral.presets`, `corral.processes`, `corral.rendering`, `corral.sentences`, `corral.snapshot`, `corral.work`,
`corral.units`, `corral.errors`.
"""
