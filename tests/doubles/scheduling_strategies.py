"""Small universes of snapshots: few names and sizes, so that everything collides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from hypothesis import strategies as st

from corral.cluster.values import QueueOrder
from corral.scheduling.values import (
    DurationKey,
    FairShare,
    Gate,
    Place,
    PolicyBounds,
    Priority,
    Queue,
    QueuedTask,
    ResidentModel,
    RunningTask,
    Share,
    Snapshot,
    TaskClass,
    Turn,
)
from doubles.chances import choose_some, draw_by_chance
from doubles.scheduling_values import NOW, ago

SLOT_IDS = tuple(f"{node}/gpu{index}" for node in "ab" for index in range(3))
DEVICES = {name: name.replace("gpu2", "gpu1") for name in SLOT_IDS}
"""The last two places of each node share a device."""

OWNERS = ("ada", "bob", "zoe")
QUEUES = ("default", "night")
ENGINES = ("llama", "comfyui")
MODELS = (None, "m1", "m2")
SIZES = (None, 2, 6, 9)
GPU_MODELS = ("fast", "slow")
NODES = ("a", "b", "away")
"""Of the last, no place is."""
SHARES = (Share.MEMORY, Share.MEMORY, Share.MEMORY, Share.ALONE, Share.WHOLE)
ONE_GPU = (1,)
ONE_OR_TWO_GPUS = (1, 1, 1, 2)


def _residents(chance: Random) -> tuple[ResidentModel, ...]:
    """Up to two models in memory."""
    pairs = choose_some(chance, [(engine, model) for engine in ENGINES for model in ("m1", "m2", "m3")], most=2)
    return tuple(ResidentModel(engine=engine, model=model, memory=chance.choice(SIZES)) for engine, model in pairs)


def _queued(chance: Random, number: int, gpus: Sequence[int]) -> QueuedTask:
    return QueuedTask(
        id=number,
        owner=chance.choice(OWNERS),
        queue=chance.choice(QUEUES),
        engine=chance.choice(ENGINES),
        model=chance.choice(MODELS),
        task_class=chance.choice(tuple(TaskClass)),
        priority=chance.choice((Priority.LOW, Priority.NORMAL)),
        precedence=chance.choice((0, 0, 0, -1, 2)),
        queued_at=ago(chance.choice((1, 2, 3, 50, 130, 4000, 4001))),
        gpus=chance.choice(gpus),
        memory=chance.choice(SIZES),
        prefer_slot=chance.choice((None, None, *SLOT_IDS)),
        avoid_slots=frozenset(choose_some(chance, SLOT_IDS, most=2)),
    )


def _running(chance: Random, number: int) -> RunningTask:
    ends = (None, *(NOW + timedelta(seconds=seconds) for seconds in (-5, 5, 40, 300)))
    return RunningTask(
        task=number,
        owner=chance.choice(OWNERS),
        queue=chance.choice(QUEUES),
        engine=chance.choice(ENGINES),
        model=chance.choice(MODELS),
        memory=chance.choice(SIZES),
        started_at=ago(30),
        expected_end=chance.choice(ends),
    )


def _places(chance: Random) -> tuple[Place, ...]:
    """Up to six places on two nodes; a device's capacity is the same on all of its places."""
    names = choose_some(chance, SLOT_IDS, least=1)
    capacity = {device: chance.choice((None, 8, 12)) for device in sorted(set(DEVICES.values()))}
    return tuple(
        Place(
            id=name,
            node=name[0],
            device=DEVICES[name],
            device_model=chance.choice(GPU_MODELS),
            capacity=capacity[DEVICES[name]],
            engines=chance.choice((frozenset({"llama"}), frozenset(ENGINES))),
            resident=_residents(chance),
            running=(_running(chance, 900 + index),) if chance.random() < 1 / 3 else (),
            gate=chance.choice((Gate.OPEN, Gate.OPEN, Gate.OPEN, Gate.PAUSED, Gate.UNHEALTHY)),
        )
        for index, name in enumerate(names)
    )


def _queues(chance: Random) -> dict[str, Queue]:
    """The rules of some of the queues."""
    return {
        name: Queue(
            name=name,
            pool=chance.choice((None, frozenset(SLOT_IDS[:4]))),
            order=chance.choice(tuple(QueueOrder)),
            paused=chance.choice((False, False, True)),
            max_running_per_owner=chance.choice((None, 1, 2)),
        )
        for name in choose_some(chance, QUEUES)
    }


def _durations(chance: Random) -> dict[DurationKey, float]:
    keys = [DurationKey(engine, model, gpu) for engine in ENGINES for model in MODELS for gpu in GPU_MODELS]
    return {key: chance.choice((1.0, 30.0, 100.0)) for key in choose_some(chance, keys, most=6)}


def _fair_share(chance: Random) -> FairShare:
    return FairShare(
        virtual_time=chance.choice((0.0, 50.0)),
        charged={owner: chance.choice((51.0, 120.0)) for owner in choose_some(chance, OWNERS)},
        promoted_lead=chance.choice((-30.0, 0.0, 30.0)),
    )


def _passed_since(chance: Random, tasks: Iterable[int]) -> dict[int, datetime]:
    return {task: ago(chance.choice((1, 100, 500))) for task in choose_some(chance, tuple(tasks), most=3)}


def snapshots(gpus: Sequence[int] = ONE_OR_TWO_GPUS, most_tasks: int = 7) -> st.SearchStrategy[Snapshot]:
    """A question to the policy; how many places a task needs is chosen of `gpus`. No task asks for a node."""

    def make(chance: Random) -> Snapshot:
        count = chance.randint(0, most_tasks)
        return Snapshot(
            now=NOW,
            tasks=tuple(_queued(chance, number, gpus) for number in range(1, count + 1)),
            places=_places(chance),
            queues=_queues(chance),
            durations=_durations(chance),
            fair=_fair_share(chance),
            passed_since=_passed_since(chance, range(1, 11)),
            bounds=PolicyBounds(affinity_window=chance.choice((0, 2, 32))),
        )

    return draw_by_chance(make)


def snapshots_with_nodes(gpus: Sequence[int] = ONE_OR_TWO_GPUS) -> st.SearchStrategy[Snapshot]:
    """A question to the policy in which tasks must run on a node, or would rather."""

    def add_nodes(snapshot: Snapshot, chance: Random) -> Snapshot:
        tasks = [
            replace(task, node=chance.choice((None, None, *NODES)), prefer_node=chance.choice((None, *NODES)))
            for task in snapshot.tasks
        ]
        return replace(snapshot, tasks=tuple(tasks))

    return st.builds(add_nodes, st.one_of(snapshots(gpus), busy_snapshots()), draw_by_chance(lambda chance: chance))


def snapshots_on_processors() -> st.SearchStrategy[Snapshot]:
    """A question in which places of a device compute on one processor, and tasks share it in all ways."""

    def share_processors(snapshot: Snapshot, chance: Random) -> Snapshot:
        places = [
            replace(
                place,
                processor=place.device,
                exclusive=frozenset(choose_some(chance, ENGINES, most=1)),
                running=tuple(replace(running, share=chance.choice(SHARES)) for running in place.running),
            )
            for place in snapshot.places
        ]
        tasks = [replace(task, share=chance.choice(SHARES)) for task in snapshot.tasks]
        return replace(snapshot, tasks=tuple(tasks), places=tuple(places))

    every = st.one_of(snapshots(), busy_snapshots(), snapshots_with_nodes())
    return st.builds(share_processors, every, draw_by_chance(lambda chance: chance))


def snapshots_with_lanes() -> st.SearchStrategy[Snapshot]:
    """A question in which engines do several tasks of one model at a time, next to others on processors or not."""

    def add_lanes(snapshot: Snapshot, chance: Random) -> Snapshot:
        places = tuple(_add_lanes(chance, place, 800 + 10 * number) for number, place in enumerate(snapshot.places))
        return replace(snapshot, places=places)

    every = st.one_of(snapshots(), busy_snapshots(), snapshots_on_processors())
    return st.builds(add_lanes, every, draw_by_chance(lambda chance: chance))


def _add_lanes(chance: Random, place: Place, number: int) -> Place:
    """Give each engine some lanes, and what runs there others of its model next to it."""
    lanes = {engine: chance.choice((1, 2, 2, 4)) for engine in ENGINES}
    running = list(place.running)
    for first in place.running:
        others = chance.randint(0, lanes[first.engine] - 1) if first.shares_lanes else 0
        running += [
            replace(
                _running(chance, number + lane),
                engine=first.engine,
                model=first.model,
                memory=first.memory,
                share=chance.choice((first.share, Share.MEMORY)),
                lane=lane,
            )
            for lane in range(1, others + 1)
        ]
    return replace(place, lanes=lanes, running=tuple(running))


MANY_SLOT_IDS = tuple(f"{node}/gpu{index}" for node in "abc" for index in range(4))
MANY_GPU_MODELS = ("fast", "slow", "slower")


def _many_queued(chance: Random, number: int) -> QueuedTask:
    return QueuedTask(
        id=number,
        owner=chance.choice(OWNERS),
        queue=chance.choice(("default", "default", "night")),
        engine=chance.choice(("llama", "llama", "llama", "comfyui")),
        model=chance.choice((None, "m1", "m1", "m2")),
        task_class=chance.choice((TaskClass.BATCH, TaskClass.BATCH, TaskClass.INTERACTIVE)),
        priority=chance.choice((Priority.LOW, Priority.NORMAL)),
        precedence=chance.choice((0, 0, 0, -1, 2)),
        queued_at=ago(chance.randint(1, 5000)),
        gpus=chance.choice((1,) * 9 + (2,)),
        memory=chance.choice((None, None, 2, 6)),
        prefer_slot=chance.choice((None,) * 9 + (MANY_SLOT_IDS[0], MANY_SLOT_IDS[5])),
        avoid_slots=chance.choice((frozenset(),) * 7 + (frozenset(MANY_SLOT_IDS[:1]), frozenset(MANY_SLOT_IDS[2:5]))),
    )


def _many_places(chance: Random) -> tuple[Place, ...]:
    """Up to twelve places on three nodes, most of them busy with the same few models; some share a device."""
    names = choose_some(chance, MANY_SLOT_IDS, least=1)
    is_shared, is_known = chance.choice((True, False)), chance.choice((True, False))
    busy = chance.choice((1 / 2, 1 / 4))
    return tuple(
        Place(
            id=name,
            node=name[0],
            device=name.replace("gpu3", "gpu2") if is_shared else name,
            device_model=chance.choice(MANY_GPU_MODELS),
            capacity=8 if is_known else None,
            engines=chance.choice((frozenset({"llama"}), frozenset(ENGINES))),
            resident=_residents(chance),
            running=(_many_running(chance, 900 + index),) if chance.random() < busy else (),
            gate=chance.choice((Gate.OPEN,) * 9 + (Gate.PAUSED, Gate.UNHEALTHY)),
        )
        for index, name in enumerate(names)
    )


def _many_running(chance: Random, number: int) -> RunningTask:
    return RunningTask(
        task=number,
        owner=chance.choice(OWNERS),
        queue=chance.choice(QUEUES),
        engine="llama",
        model=chance.choice((None, "m1", "m1", "m2")),
        memory=chance.choice((None, 2)),
        started_at=ago(30),
        expected_end=chance.choice((None, NOW + timedelta(seconds=chance.randint(-5, 130)))),
    )


def _turns(chance: Random, places: Iterable[Place]) -> dict[str, Turn]:
    return {
        place.id: Turn(
            engine=place.resident[0].engine, model=place.resident[0].model, since=ago(chance.randint(1, 500))
        )
        for place in places
        if place.resident and chance.choice((True, False))
    }


def busy_snapshots() -> st.SearchStrategy[Snapshot]:
    """More tasks and places than in `snapshots`, nearly everything measured, models in their turns."""
    return draw_by_chance(_busy_snapshot)


def _busy_snapshot(chance: Random) -> Snapshot:
    places = _many_places(chance)
    seconds = (None, 0.0, 1.0, 10.0, 12.5, 30.0, 30.1, 75.0, 100.0)
    keys = [DurationKey(engine, model, gpu) for engine in ENGINES for model in MODELS for gpu in MANY_GPU_MODELS]
    measured = {key: chance.choice(seconds) for key in keys}
    return Snapshot(
        now=NOW,
        tasks=tuple(_many_queued(chance, number) for number in range(1, chance.randint(1, 30) + 1)),
        places=places,
        queues=_queues(chance),
        durations={key: value for key, value in measured.items() if value is not None},
        fair=_fair_share(chance),
        passed_since=_passed_since(chance, range(1, 31)),
        turns=_turns(chance, places),
        bounds=PolicyBounds(affinity_window=chance.choice((0, 2, 32))),
    )
