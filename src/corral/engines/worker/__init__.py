"""What runs inside a worker process: one engine's library, fed by the server through two pipes.

Belongs here: the worker's side of the protocol (`channel`, `serve`), and one module per engine.
Does not belong here: asyncio, pydantic, anything of the server; a worker starts quickly and does one thing.
May import: `corral.engines.wire`, `corral.work`, `corral.units`, `corral.errors`.
"""
