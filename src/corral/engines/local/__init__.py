"""Engines that run on this machine, each in a worker process of its own per slot.

`build` makes one, `installed` says whether it could run, `sweep` ends what a killed server left behind.

Belongs here: the server's side of worker processes.
Does not belong here: the workers themselves (`corral.engines.worker`).
May import: `corral.engines`' own modules, `corral.work`, `corral.units`, `corral.errors`.
"""

from corral.engines.local.factory import Device, build
from corral.engines.local.installation import installed
from corral.engines.local.leftovers import sweep

__all__ = ["Device", "build", "installed", "sweep"]
