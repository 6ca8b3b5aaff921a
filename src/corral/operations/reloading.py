"""Puts an edited cluster file into effect while a server runs.

The file is read and checked as a whole, and every engine is made, before anything changes: a file with problems leaves
the server as it is. Nothing is stored but the file itself, so a server that is killed in between follows the file when
it starts again. What runs is never stopped: a slot that changes or goes does so when its task has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Protocol

from pydantic.alias_generators import to_camel

from corral.cluster.build import find_place
from corral.cluster.values import Cluster
from corral.cluster.yields import YieldTo
from corral.errors import Problem
from corral.slots.values import Difference, Wanted, describe_change
from corral.work import SlotId

_AT_NEXT_START = {"data_dir": "the data directory", "database_url_env": "the database"}
"""Fields of the file that a server reads at its start alone; its address is an option of `corral up`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadAsked:
    """What to do with the cluster file."""

    dry_run: bool = False
    """Only report the differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A slot or device that differs."""

    name: SlotId
    what: tuple[str, ...] = ()
    """The differences: `options.threads: 4 -> 8`."""
    waits_for: str | None = None
    """The hold at whose end it takes effect, such as `task 12 of ada`; null when it takes effect at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadAnswer:
    """How the cluster file differs from what the server follows."""

    dry_run: bool
    added: tuple[SlotId, ...]
    """Slots that are new; they take tasks once a check shows that their engine works."""
    changed: tuple[Edit, ...]
    """Slots that get a new engine or new settings."""
    removed: tuple[Edit, ...]
    """Slots that go; those that wait for a task drain until then."""
    devices: tuple[Edit, ...]
    """Devices that are described otherwise."""
    pending: tuple[Edit, ...]
    """Slots and devices that wait for a task since an earlier reload; without differences where a slot goes."""
    settings: tuple[str, ...]
    """Other differences that take effect: engines that are enabled, queues, limits, pools, retention."""
    at_next_start: tuple[str, ...]
    """Differences that take effect when the server is started again."""
    problems: tuple[Problem, ...]
    """How the cluster file and this machine disagree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCluster:
    """A cluster file, and the devices and slots that it means on this server."""

    cluster: Cluster
    wanted: Wanted
    problems: tuple[Problem, ...] = ()


class RunningServer(Protocol):
    """The running server."""

    @property
    def cluster(self) -> Cluster:
        """The cluster file in effect."""
        ...

    @property
    def at_start(self) -> Cluster:
        """The cluster file that was in effect when the server started."""
        ...

    def compare_slots(self, wanted: Wanted) -> Difference:
        """Return how these slots differ from those there are."""
        ...

    def put_into_effect(self, local: LocalCluster) -> None:
        """Put a cluster file into effect, all of it or, when an engine cannot be made, nothing of it."""
        ...


async def reload_cluster(server: RunningServer, read: Callable[[], LocalCluster], asked: ReloadAsked) -> ReloadAnswer:
    """Read the cluster file, put it into effect unless that is not asked for, and return what differs.

    Raises: what `read` raises for a file with problems; the server then goes on as before.
    """
    local = await asyncio.to_thread(read)
    difference = server.compare_slots(local.wanted)
    answer = _make_answer(server, local, difference, asked)
    if not asked.dry_run:
        server.put_into_effect(local)
    return answer


def _make_answer(
    server: RunningServer, local: LocalCluster, difference: Difference, asked: ReloadAsked
) -> ReloadAnswer:
    before, after = server.cluster, local.cluster
    return ReloadAnswer(
        dry_run=asked.dry_run,
        added=tuple(slot.id for slot in difference.added),
        changed=tuple(
            Edit(name=change.before.id, what=change.what, waits_for=difference.held.get(change.before.id))
            for change in difference.changed
        ),
        removed=tuple(Edit(name=slot.id, waits_for=difference.held.get(slot.id)) for slot in difference.removed),
        devices=tuple(
            Edit(name=change.before.name, what=change.what, waits_for=difference.held.get(change.before.name))
            for change in difference.devices
        ),
        pending=tuple(Edit(name=change.name, what=change.what, waits_for=change.hold) for change in difference.pending),
        settings=tuple(_list_settings(before, after)),
        at_next_start=tuple(
            describe_change(label, getattr(server.at_start, name), getattr(after, name))
            for name, label in _AT_NEXT_START.items()
            if getattr(server.at_start, name) != getattr(after, name)
        ),
        problems=local.problems,
    )


_SCHEDULING = {
    "promote_after": "promoteAfter",
    "model_wait": "modelWait",
    "guest_wait": "guestWait",
    "preempt_after": "preempt.after",
}
"""The settings of the policy, by the cluster's field, with their keys in the file."""


def _list_settings(before: Cluster, after: Cluster) -> Iterator[str]:
    if before.name != after.name:
        yield describe_change("name", before.name, after.name)
    if before.time_zone != after.time_zone:
        yield describe_change("timeZone", before.time_zone, after.time_zone)
    for name, engine in after.engines.items():  # also without a slot here, the server takes its tasks or refuses them
        if before.engines[name].enabled != engine.enabled:
            yield describe_change(f"engines.{name}.enabled", before.engines[name].enabled, engine.enabled)
    for queue in sorted(before.queues.keys() | after.queues.keys()):
        yield from _list_changes(f"queues.{queue}", before.queues.get(queue), after.queues.get(queue))
    yield from _list_named("nodes", *(_find_yields(cluster) for cluster in (before, after)))
    yield from _list_changes("retention", before.retention, after.retention)
    if before.electricity != after.electricity:
        yield from _list_changes("electricity", before.electricity, after.electricity)
    yield from _list_changes("server", before.server, after.server)
    yield from _list_named("gateway", *(cluster.gateway.doors for cluster in (before, after)))
    yield from _list_named("gateway.models", *(cluster.gateway.models for cluster in (before, after)))
    if before.gateway.stall_after != after.gateway.stall_after:
        yield describe_change("gateway.stallAfter", before.gateway.stall_after, after.gateway.stall_after)
    alone = (replace(cluster.webhooks, receivers=()) for cluster in (before, after))
    yield from _list_changes("webhooks", *alone)
    receivers = ({receiver.name: receiver for receiver in cluster.webhooks.receivers} for cluster in (before, after))
    yield from _list_named("webhooks.receivers", *receivers)
    targets = ({target.to: target for target in cluster.notify} for cluster in (before, after))
    yield from _list_named("notify", *targets)
    for name, key in _SCHEDULING.items():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield describe_change(f"scheduling.{key}", old, new)


def _list_named(section: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        yield from _list_changes(f"{section}.{name}", before.get(name), after.get(name))


def _find_yields(cluster: Cluster) -> Mapping[str, YieldTo]:
    return {
        f"{node.name}.gpus.{gpu.index}.yieldTo": gpu.yield_to
        for node in cluster.nodes
        for gpu in node.gpus or ()
        if gpu.yield_to is not None
    }


def _list_changes(name: str, before: object, after: object) -> Iterator[str]:
    if before is None or after is None:
        yield f"{name}: {'added' if before is None else 'removed'}"
        return
    old, new = _read_fields(before), _read_fields(after)
    yield from (describe_change(f"{name}.{key}", old[key], new[key]) for key in old if old[key] != new[key])


def _read_fields(value: object) -> Mapping[str, object]:
    """Read a dataclass by the keys that the cluster file has for its fields: `limits.perOwner.running`."""
    return {".".join(map(to_camel, find_place(part))): getattr(value, part.name) for part in fields(value)}  # pyright: ignore[reportArgumentType]  dataclasses, all of them
