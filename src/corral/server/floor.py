"""Builds the stations of this server: this machine's slots with their engines, and the instances reached by URL."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corral.cluster.values import Cluster, EngineSettings, Instance, Node
from corral.engines.building import Device, build, build_remote
from corral.engines.inputs import ENGINES
from corral.errors import Problem
from corral.scheduling.values import Queue, Settings
from corral.tasks.stations import StationSetup
from corral.telemetry.machine import describe
from corral.telemetry.nvml import find_gpus
from corral.telemetry.slots import LocalSlot, local_slots
from corral.units import Bytes
from corral.work import Engine, SlotId


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The stations, and how the cluster file and this machine disagree."""

    stations: tuple[StationSetup, ...]
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class _Place:
    """A station being put together."""

    slot: SlotId
    node: str
    device: str
    device_model: str
    capacity: Bytes | None
    visible_device: str | None = None
    engines: dict[str, Engine] = field(default_factory=dict[str, Engine])


def build_floor(cluster: Cluster, *, data_dir: Path, locate: Callable[[str], Path]) -> Floor:
    """Look at this machine and return everything on which this server can run tasks."""
    places: dict[SlotId, _Place] = {}
    problems: tuple[Problem, ...] = ()
    here = this_node(cluster.nodes, socket.gethostname())
    if here is not None:
        found = local_slots(here, find_gpus().gpus, describe(data_dir))
        problems = found.problems
        for slot in found.slots:
            places[slot.id] = _local_place(slot, cluster.engines, data_dir, locate)
    for name in ("comfyui", "ollama"):
        for instance in cluster.engines[name].instances:
            _add_instance(places, cluster, name, instance)
    stations = tuple(
        StationSetup(
            slot=place.slot,
            node=place.node,
            device=place.device,
            device_model=place.device_model,
            capacity=place.capacity,
            visible_device=place.visible_device,
            engines=place.engines,
        )
        for place in places.values()
        if place.engines
    )
    return Floor(stations=stations, problems=problems)


def this_node(nodes: Sequence[Node], hostname: str) -> Node | None:
    """Return the node that is this machine: the one without an address, else the one with this host name."""
    for node in nodes:
        if node.address is None:
            return node
    short = hostname.split(".")[0]
    for node in nodes:
        if node.name in (hostname, short) or node.address in (hostname, short, "localhost", "127.0.0.1"):
            return node
    return None


def _local_place(
    slot: LocalSlot, engines: Mapping[str, EngineSettings], data_dir: Path, locate: Callable[[str], Path]
) -> _Place:
    gpu = slot.cuda_visible_devices or None
    device = Device(name=slot.id.partition("/")[2], gpu=gpu)
    place = _Place(slot.id, slot.node, slot.device, slot.device_model, slot.capacity, gpu)
    for name, kind in ENGINES.items():
        if kind.local and engines[name].enabled:
            place.engines[name] = build(
                name,
                device=device,
                threads=slot.threads,
                options=engines[name].options,
                locate=locate,
                log_dir=data_dir / "logs",
            )
    return place


def _add_instance(places: dict[SlotId, _Place], cluster: Cluster, engine: str, instance: Instance) -> None:
    if not cluster.engines[engine].enabled:
        return
    place = _place_of(places, cluster, instance)
    if engine in place.engines:  # two instances on one card: they share its memory, each with a slot of its own
        place = _Place(
            SlotId(f"{place.slot}/{instance.name}"), place.node, place.device, place.device_model, place.capacity
        )
    places[place.slot] = place
    place.engines[engine] = build_remote(engine, url=instance.url, options=cluster.engines[engine].options)


def _place_of(places: Mapping[SlotId, _Place], cluster: Cluster, instance: Instance) -> _Place:
    if instance.node is None or instance.gpu is None:
        slot = SlotId(instance.name)
        return places.get(slot) or _Place(slot, instance.node or instance.name, slot, "unknown", instance.memory)
    slot = SlotId(f"{instance.node}/gpu{instance.gpu}")
    if slot in places:
        return places[slot]
    node = next(node for node in cluster.nodes if node.name == instance.node)
    gpu = next((gpu for gpu in node.gpus or () if gpu.index == instance.gpu), None)
    model = gpu.model if gpu and gpu.model else "unknown"
    capacity = instance.memory or (gpu.memory if gpu else None)
    return _Place(slot, instance.node, slot, model, capacity)


def queues_of(cluster: Cluster, stations: Sequence[StationSetup]) -> dict[str, Queue]:
    """Return the queues of the cluster file, with their pools as slots."""
    return {
        name: Queue(
            name=name,
            slots=None if queue.pool is None else _pool(queue.pool, stations),
            order=queue.order,
            max_running_per_owner=queue.max_running_per_owner,
        )
        for name, queue in cluster.queues.items()
    }


def _pool(selectors: Sequence[str], stations: Sequence[StationSetup]) -> frozenset[SlotId]:
    return frozenset(
        station.slot
        for station in stations
        for selector in selectors
        if station.node == selector or station.slot == selector or _is_cpu_of(station.slot, selector)
    )


def _is_cpu_of(slot: SlotId, selector: str) -> bool:
    return selector.endswith("/cpu") and slot.startswith(selector)


def policy_settings(cluster: Cluster) -> Settings:
    """Return the policy's bounds as the cluster file sets them."""
    return Settings(promote_after=cluster.promote_after)
