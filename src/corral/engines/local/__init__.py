"""Engines that run on this machine, each in a worker process of its own per slot.

Belongs here: the server's side of worker processes.
Does not belong here: the workers themselves (`corral.engines.worker` and the `worker` of each engine's folder).
May import: `corral.engines`' own modules, `corral.processes`, `corral.work`, `corral.units`, `corral.errors`.
"""
