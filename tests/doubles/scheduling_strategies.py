"""Small universes of snapshots: few names and sizes, so that everything collides."""

from __future__ import annotations

from datetime import timedelta

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
    Snapshot,
    TaskClass,
    Turn,
)
from doubles.scheduling_values import NOW, ago

SLOT_IDS = tuple(f"{node}/gpu{index}" for node in "ab" for index in range(3))
DEVICES = {name: name.replace("gpu2", "gpu1") for name in SLOT_IDS}
"""The last two places of each node share a device."""

owners = st.sampled_from(["ada", "bob", "zoe"])
queue_names = st.sampled_from(["default", "night"])
engines = st.sampled_from(["llama", "comfyui"])
models = st.sampled_from([None, "m1", "m2"])
sizes = st.sampled_from([None, 2, 6, 9])
residents = st.builds(ResidentModel, engine=engines, model=st.sampled_from(["m1", "m2", "m3"]), memory=sizes)


def queued(number: int, gpus: st.SearchStrategy[int]) -> st.SearchStrategy[QueuedTask]:
    """A task of the universe."""
    return st.builds(
        QueuedTask,
        id=st.just(number),
        owner=owners,
        queue=queue_names,
        engine=engines,
        model=models,
        task_class=st.sampled_from(TaskClass),
        priority=st.sampled_from([Priority.LOW, Priority.NORMAL]),
        queued_at=st.sampled_from([1, 2, 3, 50, 130, 4000, 4001]).map(ago),
        gpus=gpus,
        memory=sizes,
        prefer_slot=st.sampled_from([None, None, *SLOT_IDS]),
        avoid_slots=st.frozensets(st.sampled_from(SLOT_IDS), max_size=2),
    )


def running(number: int) -> st.SearchStrategy[RunningTask]:
    """What occupies a place."""
    return st.builds(
        RunningTask,
        task=st.just(number),
        owner=owners,
        queue=queue_names,
        engine=engines,
        model=models,
        memory=sizes,
        started_at=st.just(ago(30)),
        expected_end=st.sampled_from([None, *(NOW + timedelta(seconds=s) for s in (-5, 5, 40, 300))]),
    )


@st.composite
def place_lists(draw: st.DrawFn) -> tuple[Place, ...]:
    """Up to six places on two nodes; a device's capacity is the same on all of its places, and what is there fits."""
    names = draw(st.lists(st.sampled_from(SLOT_IDS), unique=True, min_size=1))
    capacity = {device: draw(st.sampled_from([None, 8, 12])) for device in sorted(set(DEVICES.values()))}
    return tuple(draw(_place(name, index, capacity[DEVICES[name]])) for index, name in enumerate(names))


def _place(name: str, index: int, capacity: int | None) -> st.SearchStrategy[Place]:
    return st.builds(
        Place,
        id=st.just(name),
        node=st.just(name[0]),
        device=st.just(DEVICES[name]),
        device_model=st.sampled_from(["fast", "slow"]),
        capacity=st.just(capacity),
        engines=st.sampled_from([frozenset({"llama"}), frozenset({"llama", "comfyui"})]),
        resident=st.lists(residents, max_size=2, unique_by=lambda each: (each.engine, each.model)).map(tuple),
        running=st.one_of(st.none(), st.none(), running(900 + index)),
        gate=st.sampled_from([Gate.OPEN, Gate.OPEN, Gate.OPEN, Gate.PAUSED, Gate.UNHEALTHY]),
    )


def queues(name: str) -> st.SearchStrategy[Queue]:
    """The rules of a queue."""
    return st.builds(
        Queue,
        name=st.just(name),
        pool=st.sampled_from([None, frozenset(SLOT_IDS[:4])]),
        order=st.sampled_from(QueueOrder),
        paused=st.sampled_from([False, False, True]),
        max_running_per_owner=st.sampled_from([None, 1, 2]),
    )


durations = st.dictionaries(
    st.builds(DurationKey, engines, models, st.sampled_from(["fast", "slow"])),
    st.sampled_from([1.0, 30.0, 100.0]),
    max_size=6,
)
fair_shares = st.builds(
    FairShare,
    virtual_time=st.sampled_from([0.0, 50.0]),
    charged=st.dictionaries(owners, st.sampled_from([51.0, 120.0]), max_size=3),
    promoted_lead=st.sampled_from([-30.0, 0.0, 30.0]),
)


@st.composite
def snapshots(draw: st.DrawFn, gpus: st.SearchStrategy[int] | None = None, most_tasks: int = 7) -> Snapshot:
    """A question to the policy; `gpus` says how many places its tasks need (one or two, unless given)."""
    count = draw(st.integers(0, most_tasks))
    needs = st.sampled_from([1, 1, 1, 2]) if gpus is None else gpus
    tasks = tuple(draw(queued(number, needs)) for number in range(1, count + 1))
    return Snapshot(
        now=NOW,
        tasks=tasks,
        places=draw(place_lists()),
        queues={name: draw(queues(name)) for name in draw(st.sets(queue_names))},
        durations=draw(durations),
        fair=draw(fair_shares),
        passed_since=draw(st.dictionaries(st.integers(1, 10), st.sampled_from([1, 100, 500]).map(ago), max_size=3)),
        bounds=PolicyBounds(affinity_window=draw(st.sampled_from([0, 2, 32]))),
    )


MANY_SLOT_IDS = tuple(f"{node}/gpu{index}" for node in "abc" for index in range(4))
GPU_MODELS = ("fast", "slow", "slower")


def _many_queued(number: int) -> st.SearchStrategy[QueuedTask]:
    return st.builds(
        QueuedTask,
        id=st.just(number),
        owner=owners,
        queue=st.sampled_from(["default", "default", "night"]),
        engine=st.sampled_from(["llama", "llama", "llama", "comfyui"]),
        model=st.sampled_from([None, "m1", "m1", "m2"]),
        task_class=st.sampled_from([TaskClass.BATCH, TaskClass.BATCH, TaskClass.INTERACTIVE]),
        priority=st.sampled_from([Priority.LOW, Priority.NORMAL]),
        queued_at=st.integers(1, 5000).map(ago),
        gpus=st.sampled_from([1] * 9 + [2]),
        memory=st.sampled_from([None, None, 2, 6]),
        prefer_slot=st.sampled_from([None] * 9 + [MANY_SLOT_IDS[0], MANY_SLOT_IDS[5]]),
        avoid_slots=st.sampled_from([frozenset()] * 7 + [frozenset(MANY_SLOT_IDS[:1]), frozenset(MANY_SLOT_IDS[2:5])]),
    )


@st.composite
def _many_places(draw: st.DrawFn) -> tuple[Place, ...]:
    """Up to twelve places on three nodes, most of them busy with the same few models; some share a device."""
    names = draw(st.lists(st.sampled_from(MANY_SLOT_IDS), unique=True, min_size=1))
    is_shared, is_known = draw(st.booleans()), draw(st.booleans())
    free = draw(st.sampled_from([1, 3]))
    return tuple(
        Place(
            id=name,
            node=name[0],
            device=name.replace("gpu3", "gpu2") if is_shared else name,
            device_model=draw(st.sampled_from(GPU_MODELS)),
            capacity=8 if is_known else None,
            engines=draw(st.sampled_from([frozenset({"llama"}), frozenset({"llama", "comfyui"})])),
            resident=tuple(draw(st.lists(residents, max_size=2, unique_by=lambda each: (each.engine, each.model)))),
            running=draw(st.sampled_from([None] * free + [True])) and draw(_many_running(900 + index)),
            gate=draw(st.sampled_from([Gate.OPEN] * 9 + [Gate.PAUSED, Gate.UNHEALTHY])),
        )
        for index, name in enumerate(names)
    )


def _many_running(number: int) -> st.SearchStrategy[RunningTask]:
    return st.builds(
        RunningTask,
        task=st.just(number),
        owner=owners,
        queue=queue_names,
        engine=st.just("llama"),
        model=st.sampled_from([None, "m1", "m1", "m2"]),
        memory=st.sampled_from([None, 2]),
        started_at=st.just(ago(30)),
        expected_end=st.one_of(st.none(), st.integers(-5, 130).map(lambda seconds: NOW + timedelta(seconds=seconds))),
    )


@st.composite
def busy_snapshots(draw: st.DrawFn) -> Snapshot:
    """More tasks and places than in `snapshots`, nearly everything measured, models in their turns."""
    tasks = tuple(draw(_many_queued(number)) for number in range(1, draw(st.integers(1, 30)) + 1))
    places = draw(_many_places())
    seconds = st.sampled_from([None, 0.0, 1.0, 10.0, 12.5, 30.0, 30.1, 75.0, 100.0])
    measured = {
        DurationKey(engine, model, device_model): draw(seconds)
        for engine in ("llama", "comfyui")
        for model in (None, "m1", "m2")
        for device_model in GPU_MODELS
    }
    turns = {
        place.id: Turn(
            engine=place.resident[0].engine, model=place.resident[0].model, since=ago(draw(st.integers(1, 500)))
        )
        for place in places
        if place.resident and draw(st.booleans())
    }
    return Snapshot(
        now=NOW,
        tasks=tasks,
        places=places,
        queues={name: draw(queues(name)) for name in draw(st.sets(queue_names))},
        durations={key: value for key, value in measured.items() if value is not None},
        fair=draw(fair_shares),
        passed_since=draw(st.dictionaries(st.integers(1, 30), st.sampled_from([1, 100, 500]).map(ago), max_size=3)),
        turns=turns,
        bounds=PolicyBounds(affinity_window=draw(st.sampled_from([0, 2, 32]))),
    )
