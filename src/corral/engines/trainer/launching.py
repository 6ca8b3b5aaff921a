"""The command that starts one process for each device of a task, and its environment; pure.

On GPUs it is `accelerate launch`. On processors it is torch's elastic launch, which accelerate calls too: accelerate's
own command starts several processes without a GPU through MPI alone. Rendezvous is on loopback with a free port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BF16_SINCE = (8, 0)
"""Ampere: the first with bfloat16 in its tensor cores (CUDA C++ programming guide, compute capabilities)."""
FP16_SINCE = (7, 0)
"""Volta: the first with tensor cores at all."""
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU as its library reports it."""

    name: str
    capability: tuple[int, int]


def choose_precision(cards: Sequence[Card]) -> str:
    """Choose the mixed precision that all GPUs have, as accelerate names it; `no` on processors."""
    oldest = min((card.capability for card in cards), default=(0, 0))
    if oldest >= BF16_SINCE:
        return "bf16"
    return "fp16" if oldest >= FP16_SINCE else "no"


def make_launch(python: str, processes: int, cards: Sequence[Card], program: Sequence[str]) -> tuple[str, ...]:
    """Return the command that runs a Python program (a file, or `-m` and a module) in each of the processes."""
    if not cards:
        rendezvous = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{LOOPBACK}:0", "--local-addr", LOOPBACK)
        count = ("--nnodes", "1", "--nproc-per-node", str(processes), "--max-restarts", "0")
        return (python, "-P", "-m", "torch.distributed.run", *rendezvous, *count, *program)
    several = ("--multi_gpu",) if processes > 1 else ()
    count = ("--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0")
    precision = ("--mixed_precision", choose_precision(cards), "--dynamo_backend", "no")
    return (python, "-P", "-m", "accelerate.commands.launch", *several, *count, *precision, *program)


def make_launch_environment(cards: Sequence[Card]) -> dict[str, str]:
    """Return the variables of the processes: where they meet, and what their GPUs cannot do.

    GeForce GPUs have no access to each other's memory, and NCCL hangs where it tries (NVIDIA/nccl-tests#287).
    """
    common = {"GLOO_SOCKET_IFNAME": "lo", "TOKENIZERS_PARALLELISM": "false"}
    if not cards:
        return {**common, "ACCELERATE_USE_CPU": "true"}
    several_geforce = len(cards) > 1 and any("GeForce" in card.name for card in cards)
    return {**common, **({"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"} if several_geforce else {})}
