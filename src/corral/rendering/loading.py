"""How long a service's models take to load, as far as names tell: bytes over the speed of the disk they lie on."""

from __future__ import annotations

from corral.cluster.values import StorageKind
from corral.hardware.fit.names import need_of
from corral.rendering.installation import Deployed

_BYTES_PER_S = {"nvme": 2.0e9, "ssd": 0.45e9, "hdd": 0.15e9}
"""Sequential reading of ordinary drives: PCIe 3 NVMe, SATA 3 (its bound is 0.6), 7,200 turns a minute."""
_NFS_BYTES_PER_S = 0.11e9
"""A gigabit network, less its overhead."""
_UNKNOWN_BYTES_PER_S = _NFS_BYTES_PER_S
_UNKNOWN_MODEL_BYTES = 10 * 2**30
"""For engines whose models are not known by name; as large as the checkpoints of image models usually are."""


def seconds_to_load(one: Deployed) -> int:
    """Forecast how long the largest model of a service takes to load, in whole seconds; 0 when it has none."""
    if not one.service.models and not one.gpu_count:
        return 0
    needs = [need_of(engine, model) for engine in one.service.engines for model in one.service.models]
    sizes = [need.divisible.value for need in needs if need is not None]
    size = max(sizes, default=one.service.gpu_memory or _UNKNOWN_MODEL_BYTES)
    return -(-int(size) // int(_speed(one)))


def _speed(one: Deployed) -> float:
    speeds = [
        _NFS_BYTES_PER_S if storage.kind is StorageKind.NFS else _BYTES_PER_S.get(storage.medium or "")
        for storage in one.storage
    ]
    known = [speed for speed in speeds if speed is not None]
    return min(known, default=_UNKNOWN_BYTES_PER_S)
