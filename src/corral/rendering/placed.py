"""What follows from where a container stands: its port, its cards, and who shares them; the same on every platform."""

from __future__ import annotations

from collections.abc import Sequence

from corral.rendering.installation import Deployed, Installation
from corral.rendering.training import has_geforce, is_trainer

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
