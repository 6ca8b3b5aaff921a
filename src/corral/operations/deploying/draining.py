"""The queue while a layout is switched: its slots that vanish get nothing new, and what runs on them ends.

A server that finds its engines on the cluster sees the switch in the state of the installation, and closes such slots
itself. Slots of instances that the cluster file names by URL are closed by name, and opened when the switch ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from corral.cluster.values import Cluster

_LOOK_S = 0.5
_SEEN_WITHIN_S = 15.0
"""The time in which a server that follows the cluster has seen a switch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSeen:
    """A slot, as a server lists it."""

    id: str
    instance: str | None
    gate: str
    tasks: int
    """Tasks and guests that it works on."""
    ends_at: str | None = None
    """ISO 8601, when what runs there is expected to have ended; None when unknown, or when nothing runs."""


class Queue(Protocol):
    """A server's slots."""

    async def list_slots(self) -> Sequence[SlotSeen]:
        """List all slots."""
        ...

    async def drain(self, slots: Sequence[str]) -> None:
        """Give slots nothing new."""
        ...

    async def resume(self, slots: Sequence[str]) -> None:
        """Let slots take tasks again."""
        ...


def list_instances_by_url(cluster: Cluster, closed: Collection[str]) -> frozenset[str]:
    """List the instances of the cluster file whose URL is that of one of these Services (`ai/ollama`)."""
    hosts = {form for name in closed for form in _write_hosts(*name.split("/"))}
    return frozenset(
        instance.name
        for settings in cluster.engines.values()
        for instance in settings.instances
        if instance.url is not None and urlsplit(instance.url).hostname in hosts
    )


def _write_hosts(namespace: str, name: str) -> Iterable[str]:
    return (name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local")


async def close_slots(queue: Queue, pods: Collection[str], by_url: Collection[str]) -> tuple[str, ...]:
    """Wait until a server has closed the slots of pods that end, and close others by name; gives the names of those.

    Slots of pods that the server does not close in time are closed by name as well.
    """
    deadline = asyncio.get_running_loop().time() + _SEEN_WITHIN_S
    named = [slot.id for slot in await queue.list_slots() if slot.instance in by_url and slot.gate == "open"]
    if named:
        await queue.drain(named)
    while True:
        still_open = [slot.id for slot in await queue.list_slots() if slot.instance in pods and slot.gate == "open"]
        if not still_open:
            return tuple(named)
        if asyncio.get_running_loop().time() > deadline:
            await queue.drain(still_open)
            return (*named, *still_open)
        await asyncio.sleep(_LOOK_S)


async def wait_until_idle(
    queue: Queue, instances: Collection[str], report: Callable[[Sequence[SlotSeen]], None]
) -> None:
    """Wait until nothing runs on the slots of some instances; what does is reported when it changes."""
    reported: list[SlotSeen] = []
    while busy := [slot for slot in await queue.list_slots() if slot.instance in instances and slot.tasks]:
        if busy != reported:
            report(busy)
            reported = busy
        await asyncio.sleep(_LOOK_S)


async def open_slots(queue: Queue, slots: Collection[str]) -> tuple[str, ...]:
    """Open slots that were closed by name; gives those that the server does not have any more."""
    known = {slot.id for slot in await queue.list_slots()}
    opened = [slot for slot in slots if slot in known]
    if opened:
        await queue.resume(opened)
    return tuple(slot for slot in slots if slot not in known)
