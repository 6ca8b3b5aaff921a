"""Many models on one GPU: the workload, and how the peers share a GPU among models.

Six servers, one model each, of which two or three fit into the GPU's 32 GB at the same time. Memory, load times and
durations are assumptions in round figures for quantized models on an RTX 5090 with a local disk, the same for every
policy. Tasks that compute at the same time slow each other down in the simulator.

The peers know no memory. llama-swap is given a matrix written by hand from the same figures, the best that we found;
FIFO gives up the least recently used models until the next one fits, as Ollama does; SwarmUI treats the GPU as one
backend, which holds one model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from benchmarks.policies.seats import Seats, by_age, holds, rank
from corral.scheduling.durations import History, observe
from corral.scheduling.simulator.values import Arrival, Load, Trace
from corral.scheduling.values import Decision, DurationKey, Place, QueuedTask, ResidentModel, Snapshot, TaskClass
from corral.units import Bytes
from corral.work import SlotId

GPU = "RTX 5090"
CAPACITY = 31 * 2**30
"""Of 32 GB, what a desktop leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model with a server of its own."""

    engine: str
    name: str
    gib: float
    load_s: float
    task_s: tuple[float, float]
    """Shortest and longest task, alone on the GPU."""


CHAT = Model(engine="chat", name="chat-24b", gib=14.0, load_s=9.0, task_s=(3.0, 12.0))
SMALL_CHAT = Model(engine="small-chat", name="chat-8b", gib=7.0, load_s=5.0, task_s=(2.0, 6.0))
CODE = Model(engine="code", name="code-30b", gib=18.0, load_s=12.0, task_s=(8.0, 25.0))
EMBEDDING = Model(engine="embedding", name="embed", gib=1.5, load_s=2.0, task_s=(0.5, 2.0))
PICTURE = Model(engine="comfyui", name="sdxl", gib=11.0, load_s=10.0, task_s=(6.0, 9.0))
SPEECH = Model(engine="speech", name="whisper", gib=4.0, load_s=4.0, task_s=(1.0, 4.0))
MODELS = (CHAT, SMALL_CHAT, CODE, EMBEDDING, PICTURE, SPEECH)

MATRIX: Sequence[frozenset[str]] = (
    frozenset({"chat", "comfyui", "speech", "embedding"}),
    frozenset({"small-chat", "comfyui", "speech", "embedding"}),
    frozenset({"chat", "small-chat", "speech", "embedding"}),
    frozenset({"code", "small-chat", "speech", "embedding"}),
    frozenset({"code", "comfyui", "embedding"}),
)
"""llama-swap: models that can be loaded together, each set within the GPU's memory."""


def one_gpu(size: float = 1.0) -> Trace:
    """One GPU of 32 GB and six models, for two people, an agent that uses three in turn, and a batch of pictures."""
    chance = Random(18)
    people_s = 3_600.0 * 3 * size
    arrivals: list[Arrival] = []
    _sit_down(arrivals, chance, "ada", people_s, ((CHAT, 0.75), (PICTURE, 0.25)), gap_s=45.0)
    _sit_down(arrivals, chance, "bob", people_s, ((SPEECH, 0.5), (SMALL_CHAT, 0.5)), gap_s=35.0)
    _work_in_turn(arrivals, chance, people_s)
    count = max(1, round(1_500 * size))
    arrivals += [_task(chance, PICTURE, 0.0, "night") for _ in range(count)]
    return _number(arrivals)


def _sit_down(
    arrivals: list[Arrival],
    chance: Random,
    owner: str,
    until_s: float,
    wants: Sequence[tuple[Model, float]],
    *,
    gap_s: float,
) -> None:
    """Sessions of a quarter of an hour with a request every minute or so, and as long away from the desk."""
    at = chance.uniform(30.0, 120.0)
    models, weights = zip(*wants, strict=True)
    while at < until_s:
        end = at + chance.uniform(600.0, 1_200.0)
        while at < min(end, until_s):
            (model,) = chance.choices(models, weights)
            arrivals.append(_task(chance, model, at, owner, task_class=TaskClass.INTERACTIVE))
            at += 5.0 + chance.expovariate(1 / gap_s)
        at += chance.uniform(300.0, 1_500.0)


def _work_in_turn(arrivals: list[Arrival], chance: Random, until_s: float) -> None:
    """An agent: what it looks up, what it writes and what it says of it, each after the other, round after round."""
    at = 200.0
    while at < until_s:
        for model in (EMBEDDING, CODE, CHAT):
            arrivals.append(_task(chance, model, at, "agent"))
            at += 20.0
        at += chance.uniform(60.0, 240.0)


def _task(chance: Random, model: Model, at_s: float, owner: str, task_class: TaskClass = TaskClass.BATCH) -> Arrival:
    return Arrival(
        id=0,
        at_s=round(at_s, 3),
        owner=owner,
        engine=model.engine,
        model=model.name,
        task_class=task_class,
        memory=_size(model),
        seconds={"*": round(chance.uniform(*model.task_s), 3)},
    )


def _number(arrivals: Iterable[Arrival]) -> Trace:
    in_order = sorted(arrivals, key=lambda arrival: arrival.at_s)
    history = History()
    for model in MODELS:
        history = observe(history, DurationKey(model.engine, model.name, GPU), sum(model.task_s) / 2)
    return Trace(
        arrivals=tuple(replace(arrival, id=number) for number, arrival in enumerate(in_order, start=1)),
        places=tuple(_place(model) for model in MODELS),
        loads=tuple(
            Load(engine=model.engine, model=model.name, seconds=model.load_s, memory=_size(model)) for model in MODELS
        ),
        history=history,
    )


def _place(model: Model) -> Place:
    return Place(
        id=SlotId(f"pc/gpu0/{model.engine}"),
        node="pc",
        device="pc/gpu0",
        processor="pc/gpu0",
        device_model=GPU,
        capacity=Bytes(CAPACITY),
        engines=frozenset({model.engine}),
        exclusive=frozenset({PICTURE.engine}),
    )


def _size(model: Model) -> Bytes:
    return Bytes(round(model.gib * 2**30))


def share(trace: Trace) -> Trace:
    """The same slots, none of which has the GPU to itself."""
    return replace(trace, places=tuple(replace(place, exclusive=frozenset()) for place in trace.places))


# --- the peers -----------------------------------------------------------------------------------------------------


class _Gpu:
    """The GPU in one decision of a peer: what computes, what is loaded, what is given up."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.seats = Seats(snapshot)
        self.loaded = {place.id: held for place in self.seats.places for held in place.resident}
        self.busy: set[SlotId] = set()
        for place in self.seats.places:
            for running in place.running:
                self.busy.add(place.id)
                self.loaded[place.id] = ResidentModel(
                    engine=running.engine, model=running.model or "", memory=running.memory
                )
        self.tasks = by_age(snapshot)

    def place_of(self, task: QueuedTask) -> Place:
        return next(place for place in self.seats.places if task.engine in place.engines)

    def start(self, task: QueuedTask, give_up: Iterable[SlotId]) -> None:
        """Start a task in its place, which is free, once these places have given up their models."""
        place = self.place_of(task)
        evict = tuple((name, self.loaded.pop(name)) for name in give_up)
        self.seats.seat(task, place, evict=evict)
        self.busy.add(place.id)
        self.loaded[place.id] = ResidentModel(engine=task.engine, model=task.model or "", memory=task.memory)

    def count_bytes(self, names: Iterable[SlotId]) -> int:
        """Bytes of the models that these places hold."""
        return sum(self.loaded[name].memory or 0 for name in names)

    def list_needed(self, task: QueuedTask, in_order: Iterable[SlotId]) -> list[SlotId]:
        """Those of idle places that must give up their models for a task to fit, in the order given."""
        place = self.place_of(task)
        used = sum(held.memory or 0 for name, held in self.loaded.items() if name != place.id)
        lost: list[SlotId] = []
        for name in in_order:
            if used + (task.memory or 0) <= CAPACITY:
                break
            if name in self.loaded and name != place.id:
                used -= self.loaded[name].memory or 0
                lost.append(name)
        return lost


class FifoOnOneGpu:
    """One task at a time, the oldest first; the models that were used longest ago make room."""

    def __init__(self) -> None:
        self._used: dict[SlotId, datetime] = {}

    def __call__(self, snapshot: Snapshot) -> Decision:
        gpu = _Gpu(snapshot)
        for name in gpu.busy:
            self._used[name] = snapshot.now
        if not gpu.busy and gpu.tasks:
            task = gpu.tasks[0]
            by_use = sorted(gpu.loaded, key=lambda name: (self._used.get(name, snapshot.now), name))
            gpu.start(task, gpu.list_needed(task, by_use))
            self._used[gpu.place_of(task).id] = snapshot.now
        return gpu.seats.decision()


def swap_by_matrix(snapshot: Snapshot) -> Decision:
    """A task whose model is loaded starts at once, next to what computes; others in line swap to a set with theirs.

    Of the sets with the model, one that gives up nothing at work, then the one that gives up least; a swap that would
    give up a model at work waits for it, and so do the swaps behind it. No ageing: what is loaded keeps passing.
    """
    gpu = _Gpu(snapshot)
    line = sorted(gpu.tasks, key=rank)
    for task in line:
        place = gpu.place_of(task)
        if place.id not in gpu.busy and holds(place, task):
            gpu.start(task, [])
    for task in line:
        place = gpu.place_of(task)
        if task.id in gpu.seats.seated or place.id in gpu.busy:
            continue
        losses = [
            [name for name, held in gpu.loaded.items() if held.engine not in models]
            for models in MATRIX
            if task.engine in models
        ]
        least = min(losses, key=lambda lost: (not gpu.busy.isdisjoint(lost), gpu.count_bytes(lost), lost))
        if not gpu.busy.isdisjoint(least):
            break
        gpu.start(task, least)
    return gpu.seats.decision()


class OneBackend:
    """SwarmUI: the backend holds one model; the loaded one goes on, else the model under most pressure is loaded."""

    def __call__(self, snapshot: Snapshot) -> Decision:
        gpu = _Gpu(snapshot)
        if gpu.busy:
            return gpu.seats.decision()
        ready = next((task for task in gpu.tasks if holds(gpu.place_of(task), task)), None)
        if ready is not None:
            gpu.start(ready, [])
        elif gpu.tasks:
            first: dict[str, QueuedTask] = {}
            pressure: dict[str, float] = {}
            for task in gpu.tasks:
                if task.engine not in first:
                    first[task.engine] = task
                    pressure[task.engine] = (snapshot.now - task.queued_at).total_seconds()
                pressure[task.engine] += 10.0
            wanted = max(pressure, key=lambda engine: (pressure[engine], engine))
            gpu.start(first[wanted], list(gpu.loaded))
        return gpu.seats.decision()
