"""OpenAI's door in front of one real llama with a small model, for official clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from corral.engines.building import Device, build
from corral.gateway.catalogue import Catalogue, KnownModel
from corral.gateway.doors import Door
from corral.gateway.openai.door import OpenAiDoor
from corral.gateway.passing import Passing
from corral.weights.store import Store
from corral.work import SlotId
from doubles.endpoints import ListedModels, NotedUsage, OpenDoorman, serving_doors
from doubles.guest_desk import OpenDesk
from doubles.local_engines import LLAMA, running_below

SLOT = SlotId("node/cpu0/llama")


@dataclass
class RealDoor:
    """The door, and what is behind it."""

    url: str
    """Ends with `/v1`, as clients are given it."""
    desk: OpenDesk
    usage: NotedUsage


@asynccontextmanager
async def serving_llama(
    models: Store, logs: Path, make_door: Callable[[Passing, OpenDoorman], Door] = OpenAiDoor
) -> AsyncIterator[RealDoor]:
    """Serve the small model under its name and as `smollm2`; nothing of it runs afterwards."""
    options = {"contextSize": 1024, "pooling": "mean"}
    llama = build("llama", device=Device(name="cpu0"), threads=1, options=options, locate=models.path, log_dir=logs)
    desk, usage = OpenDesk({SLOT: llama}), NotedUsage(counts_tokens=True)
    source = ListedModels([KnownModel(engine="llama", name=LLAMA, aliases=("smollm2",))])
    passing = Passing(desk=desk, catalogue=Catalogue(source), sink=usage)
    try:
        async with serving_doors(make_door(passing, OpenDoorman())) as url:
            yield RealDoor(f"{url}/v1", desk, usage)
    finally:
        await llama.close()
    assert running_below(logs) == []
