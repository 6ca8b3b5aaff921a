"""Training on the cards of one node: how it is launched, and what the cards ask for."""

from __future__ import annotations

from corral.cluster.values import Gpu
from corral.hardware.catalogue import resolve_gpu
from corral.rendering.cards import is_geforce
from corral.rendering.installation import Deployed, Installation

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
