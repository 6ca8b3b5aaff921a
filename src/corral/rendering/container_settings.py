"""Settings that follow from a container's place: its port, its GPUs and who shares them; the same on every platform.

Also training on the GPUs of one node: how it is launched, and with which precision.
"""

from __future__ import annotations

from collections.abc import Sequence

from corral.cluster.values import Cluster, Gpu, Storage
from corral.engine_kinds import OLLAMA, TRAINER
from corral.hardware.catalogue import resolve_gpu
from corral.rendering.gpus import is_geforce
from corral.rendering.installation import Deployed, Installation
from corral.rendering.lending import is_job_service

SHARED_MEMORY_BYTES = 8 * 2**30
"""/dev/shm of containers that work on several GPUs; the usual 64 MB are too few (pitfall A26)."""


def list_placement_settings(
    installation: Installation, members: Sequence[Deployed], deployed: Deployed
) -> dict[str, str]:
    """List the settings that a container's place needs, without those of the file; `members` are those of its pod."""
    settings: dict[str, str] = {}
    if OLLAMA.name in deployed.service.engines and deployed.port is not None:
        settings |= _list_ollama_settings(installation, members, deployed)
    if deployed.gpu_count > 1 and has_geforce(installation, deployed):
        settings |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}  # NCCL hangs where it tries (pitfall A27)
    return {name: value for name, value in settings.items() if name not in deployed.env}


def needs_shared_memory(deployed: Deployed) -> bool:
    """Whether the 64 MB of a container are too few: with several GPUs, and for training (data loaders)."""
    return deployed.gpu_count > 1 or is_trainer(deployed)


def calculate_memory_limit(deployed: Deployed) -> int | None:
    """Add shared memory, which counts as the container's, to the limit of the file, in bytes; None without a limit."""
    limit = deployed.service.memory_limit
    if limit is None:
        return None
    return limit + (SHARED_MEMORY_BYTES if needs_shared_memory(deployed) else 0)


def _list_ollama_settings(
    installation: Installation, members: Sequence[Deployed], deployed: Deployed
) -> dict[str, str]:
    """List where Ollama listens; and, where others use its GPU, one model at a time instead of three for each GPU.

    Source: Ollama's FAQ (`OLLAMA_MAX_LOADED_MODELS`). Everything else is left as Ollama has it.
    """
    shares = deployed.gpu_count > 0 and (
        sum(member.gpu_count > 0 for member in members) > 1 or installation.places.shares(deployed.service.name)
    )
    return {"OLLAMA_HOST": f"0.0.0.0:{deployed.port}"} | ({"OLLAMA_MAX_LOADED_MODELS": "1"} if shares else {})


_BF16_SINCE = (8, 0)
"""Ampere: the first with bfloat16 in its tensor cores (CUDA C++ programming guide, compute capabilities)."""
_FP16_SINCE = (7, 0)
"""Volta: the first with tensor cores at all."""


def is_trainer(deployed: Deployed) -> bool:
    """Whether a service trains models."""
    return TRAINER.name in deployed.service.engines


def make_launch_command(installation: Installation, deployed: Deployed) -> tuple[str, ...]:
    """Make the command that runs a training script on every GPU of the pod; empty when the file names no script.

    Accelerate starts one process for each GPU (DistributedDataParallel). A command that is not a script is kept.
    """
    command = deployed.service.command
    if not is_trainer(deployed) or not command or not command[0].endswith(".py"):
        return ()
    several = ("--multi_gpu",) if deployed.gpu_count > 1 else ()
    processes = ("--num_processes", str(max(1, deployed.gpu_count)), "--num_machines", "1")
    return (
        "accelerate",
        "launch",
        *several,
        *processes,
        "--mixed_precision",
        choose_precision(installation, deployed),
        *command,
    )


def choose_precision(installation: Installation, deployed: Deployed) -> str:
    """Choose the mixed precision that all of its GPUs have; `no` where one of them is unknown."""
    models = [resolve_gpu(gpu.model, memory=gpu.memory) for gpu in _list_gpus(installation, deployed)]
    capabilities = [model.cuda_capability if model else None for model in models]
    known = [capability for capability in capabilities if capability is not None]
    if not known or len(known) < len(capabilities) or min(known) < _FP16_SINCE:
        return "no"
    return "bf16" if min(known) >= _BF16_SINCE else "fp16"


def has_geforce(installation: Installation, deployed: Deployed) -> bool:
    """Whether a service can get a GeForce GPU; those reach each other over the host's memory only."""
    return any(gpu.model is not None and is_geforce(gpu.model) for gpu in _list_gpus(installation, deployed))


def _list_gpus(installation: Installation, deployed: Deployed) -> list[Gpu]:
    """List the GPUs that a service can get."""
    return [
        gpu
        for node in installation.cluster.nodes
        if deployed.node in (None, node.name)
        for gpu in node.gpus or ()
        if deployed.node is None or deployed.gpus is None or gpu.index in deployed.gpus
    ]


def is_job(deployed: Deployed) -> bool:
    """Return whether a service runs to its end instead of staying."""
    return is_job_service(deployed.service)


NFS_OPTIONS = ("nfsvers=4.2", "hard", "noatime")
"""`hard` waits for a server that restarts instead of giving programs an error; noatime saves a write for each read."""


def find_nfs_server(cluster: Cluster, storage: Storage) -> str | None:
    """The host that exports an NFS volume: the storage's `server`, else the address (or name) of its node."""
    if storage.server is not None:
        return storage.server
    return next((node.address or node.name for node in cluster.nodes if node.name == storage.node), None)
