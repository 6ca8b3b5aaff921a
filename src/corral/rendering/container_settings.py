"""Settings that follow from a container's place: its port, its GPUs and who shares them; the same on every platform.

Also training on the GPUs of one node: how it is launched, and with which precision.
"""

from __future__ import annotations

from collections.abc import Sequence

from corral.cluster.values import Cluster, Gpu, ServiceKind, Storage
from corral.hardware.catalogue import resolve_gpu
from corral.rendering.gpus import is_geforce
from corral.rendering.installation import Deployed, Installation

SHARED_MEMORY_BYTES = 8 * 2**30
"""/dev/shm of containers that work on several GPUs; the usual 64 MB are too few (pitfall A26)."""


def placed_settings(installation: Installation, members: Sequence[Deployed], one: Deployed) -> dict[str, str]:
    """What the place of a container asks for, unless the file says it itself; `members` are those of its pod."""
    found: dict[str, str] = {}
    if "ollama" in one.service.engines and one.port is not None:
        found |= _ollama(members, one)
    if one.gpu_count > 1 and has_geforce(installation, one):
        found |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}  # NCCL hangs where it tries (pitfall A27)
    return {name: value for name, value in found.items() if name not in one.env}


def needs_shared_memory(one: Deployed) -> bool:
    """Tell whether the 64 MB of a container are too few: with several GPUs, and for training (data loaders)."""
    return one.gpu_count > 1 or is_trainer(one)


def memory_limit(one: Deployed) -> int | None:
    """The limit of the file, and shared memory besides, which counts as the container's; None without a limit."""
    limit = one.service.memory_limit
    if limit is None:
        return None
    return limit + (SHARED_MEMORY_BYTES if needs_shared_memory(one) else 0)


def _ollama(members: Sequence[Deployed], one: Deployed) -> dict[str, str]:
    """Where Ollama listens; and, where others use its card, one model at a time instead of three for each card.

    Source: Ollama's FAQ (`OLLAMA_MAX_LOADED_MODELS`). Everything else is left as Ollama has it.
    """
    shares = sum(each.gpu_count > 0 for each in members) > 1 and one.gpu_count > 0
    return {"OLLAMA_HOST": f"0.0.0.0:{one.port}"} | ({"OLLAMA_MAX_LOADED_MODELS": "1"} if shares else {})


_BF16_SINCE = (8, 0)
"""Ampere: the first with bfloat16 in its tensor cores (CUDA C++ programming guide, compute capabilities)."""
_FP16_SINCE = (7, 0)
"""Volta: the first with tensor cores at all."""


def is_trainer(one: Deployed) -> bool:
    """Tell whether a service trains models."""
    return "trainer" in one.service.engines


def launched(installation: Installation, one: Deployed) -> tuple[str, ...]:
    """The command that runs a training script on every GPU of the pod; empty when the file names no script.

    Accelerate starts one process for each card (DistributedDataParallel). A command that is no script stays as it is.
    """
    command = one.service.command
    if not is_trainer(one) or not command or not command[0].endswith(".py"):
        return ()
    several = ("--multi_gpu",) if one.gpu_count > 1 else ()
    processes = ("--num_processes", str(max(1, one.gpu_count)), "--num_machines", "1")
    return ("accelerate", "launch", *several, *processes, "--mixed_precision", precision(installation, one), *command)


def precision(installation: Installation, one: Deployed) -> str:
    """The mixed precision that all of its cards have; `no` where one of them is not known."""
    models = [resolve_gpu(gpu.model, memory=gpu.memory) for gpu in _cards(installation, one)]
    capabilities = [model.cuda_capability if model else None for model in models]
    known = [capability for capability in capabilities if capability is not None]
    if not known or len(known) < len(capabilities) or min(known) < _FP16_SINCE:
        return "no"
    return "bf16" if min(known) >= _BF16_SINCE else "fp16"


def has_geforce(installation: Installation, one: Deployed) -> bool:
    """Tell whether a service may get GeForce cards, which reach each other over the host's memory only."""
    return any(gpu.model is not None and is_geforce(gpu.model) for gpu in _cards(installation, one))


def _cards(installation: Installation, one: Deployed) -> list[Gpu]:
    """The cards that a service may get."""
    return [
        gpu
        for node in installation.cluster.nodes
        if one.node in (None, node.name)
        for gpu in node.gpus or ()
        if one.node is None or one.gpus is None or gpu.index in one.gpus
    ]


def is_job(deployed: Deployed) -> bool:
    """Return whether a service runs to its end instead of staying."""
    return deployed.service.kind is ServiceKind.JOB or is_trainer(deployed)


NFS_OPTIONS = ("nfsvers=4.2", "hard", "noatime")
"""`hard` waits for a server that restarts instead of giving programs an error; noatime saves a write for each read."""


def find_nfs_server(cluster: Cluster, storage: Storage) -> str | None:
    """The host that exports an NFS volume: the storage's `server`, else the address (or name) of its node."""
    if storage.server is not None:
        return storage.server
    return next((node.address or node.name for node in cluster.nodes if node.name == storage.node), None)
