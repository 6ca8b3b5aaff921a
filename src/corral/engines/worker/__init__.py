"""The inside of a worker process: one engine's library, fed by the server through two pipes.

Belongs here: the worker's side of the protocol (`serve`), what engines share (`job`).
Does not belong here: the engines; each has a `worker` module in its own folder.
Does not belong here either: asyncio, pydantic, anything of the server; a worker starts quickly and does one thing.
May import: `corral.engine_kinds`, `corral.engines.messages`, `corral.processes`, `corral.work`,
`corral.sentences`, `corral.units`, `corral.errors`.
"""
