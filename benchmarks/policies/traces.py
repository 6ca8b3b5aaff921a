"""The workloads: seeded, so that each is the same on every machine and in every run.

`size` scales the number of tasks (1 is what the tables show); the tests play small ones. Durations are those of
image generation with SDXL-class checkpoints: 30 s an image on an RTX 5070 Ti, as in the Hydra installation, and in
proportion to the speed of other cards. Loading a checkpoint takes 8 to 20 s from a local disk. Both are assumptions:
what is compared is the policies, on the same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from benchmarks.policies.measures import kind_of, owner_of
from benchmarks.policies.one_gpu import one_gpu
from corral.scheduling.durations import History, observe
from corral.scheduling.simulator.values import Arrival, Load, Trace
from corral.scheduling.values import DurationKey, Place, TaskClass
from corral.work import SlotId

SPEED: Mapping[str, float] = {"RTX 5090": 2.5, "RTX 4090": 1.6, "RTX 5070 Ti": 1.0, "RTX 3060": 0.4}
"""Images per second as a multiple of an RTX 5070 Ti's; assumed, in round figures, for cards that really differ so."""

LOADS = (
    Load(engine="comfyui", model="sdxl", seconds=12.0),
    Load(engine="comfyui", model="pony", seconds=8.0),
    Load(engine="comfyui", model="flux", seconds=20.0),
    Load(engine="comfyui", model="turbo", seconds=8.0),
    Load(engine="comfyui", model="anime", seconds=10.0),
    Load(engine="comfyui", model="edit", seconds=16.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A trace by name, and the figures that say who is best on it; `build` says in its docstring what it is."""

    name: str
    build: Callable[[float], Trace]
    judged_by: tuple[str, ...]
    """Keys of `benchmarks.policies.measures.CRITERIA`; the first is what the workload is about."""
    kind: Callable[[Arrival], str] = kind_of
    """What waits are told apart by."""
    has_one_gpu: bool = False
    """Whether its slots share one GPU, on which peers follow other rules of theirs."""


def overnight(size: float = 1.0) -> Trace:
    """One checkpoint, one owner, one night's images at once, two equal cards."""
    chance = Random(11)
    images = [_image(chance, 0.0, "sdxl", 27, 33) for _ in range(_count(1_920, size))]
    return _trace(images, _pair("compute", "RTX 5070 Ti"))


def mixed(size: float = 1.0) -> Trace:
    """Three checkpoints in random order, a fifth at once and the rest a little faster than two cards can work."""
    chance = Random(12)
    count = _count(600, size)
    images: list[Arrival] = []
    for number in range(count):
        at = 0.0 if number < count / 5 else (number - count / 5) * 11.0
        model, least, most = chance.choice((("sdxl", 25, 35), ("pony", 15, 25), ("flux", 30, 45)))
        images.append(_image(chance, at, model, least, most))
    return _trace(images, _pair("compute", "RTX 5070 Ti"))


def interactive(size: float = 1.0) -> Trace:
    """A batch of hours, and two people who want an image every minute or two with another checkpoint."""
    chance = Random(13)
    images = [_image(chance, 0.0, "sdxl", 27, 33, owner="night") for _ in range(_count(600, size))]
    at = 60.0
    for _ in range(_count(100, size)):
        at += chance.expovariate(1 / 75)
        person = chance.choice(("ada", "bob"))
        images.append(_image(chance, at, "turbo", 4, 8, owner=person, task_class=TaskClass.INTERACTIVE))
    return _trace(images, _pair("compute", "RTX 5070 Ti"))


def flooding(size: float = 1.0) -> Trace:
    """One owner puts hours of work in at once; another wants eight images with another checkpoint every ten minutes."""
    chance = Random(14)
    images = [_image(chance, 0.0, "sdxl", 27, 33, owner="flood") for _ in range(_count(800, size))]
    for burst in range(_count(15, size)):
        images += [_image(chance, 300.0 + 600.0 * burst, "pony", 15, 25, owner="small") for _ in range(8)]
    return _trace(images, _pair("compute", "RTX 5070 Ti"))


def fast_and_slow(size: float = 1.0) -> Trace:
    """Sixty images on an RTX 5090 and an RTX 3060 whose speeds were measured before."""
    return replace(fast_and_slow_unmeasured(size), history=_measured("sdxl", ("RTX 5090", "RTX 3060")))


def fast_and_slow_unmeasured(size: float = 1.0) -> Trace:
    """The same on the first evening: nothing was measured yet."""
    chance = Random(15)
    images = [_image(chance, 0.0, "sdxl", 27, 33) for _ in range(_count(60, size))]
    return _trace(images, (_place("ai/gpu0", "RTX 3060"), _place("ai/gpu1", "RTX 5090")))


def gangs(size: float = 1.0) -> Trace:
    """LoRA trainings that need both cards of a node, among a batch of images; two nodes of two cards."""
    chance = Random(16)
    images = [_image(chance, 0.0, "sdxl", 20, 40) for _ in range(_count(700, size))]
    for number in range(_count(4, size)):
        seconds = {"*": float(chance.randint(600, 1_200))}
        images.append(
            Arrival(id=0, at_s=300.0 + 900.0 * number, owner="trainer", engine="trainer", gpus=2, seconds=seconds)
        )
    return _trace(images, (*_pair("compute", "RTX 5070 Ti"), *_pair("attic", "RTX 5070 Ti")))


def large(size: float = 1.0) -> Trace:
    """Eight cards of four kinds, six checkpoints, four owners of unequal appetite, and people in between."""
    chance = Random(17)
    models = [load.model or "" for load in LOADS]
    appetite = ("ada",) * 6 + ("bob",) * 3 + ("cid",) * 2 + ("dan",)
    images: list[Arrival] = []
    at = 0.0
    for _ in range(_count(2_400, size)):
        at += chance.expovariate(1 / 2.55)
        images.append(_image(chance, at, chance.choice(models), 20, 40, owner=chance.choice(appetite)))
    for _ in range(_count(200, size)):
        person = chance.choice(("eve", "fay"))
        seconds_in = chance.uniform(0.0, at)
        images.append(_image(chance, seconds_in, "turbo", 4, 8, owner=person, task_class=TaskClass.INTERACTIVE))
    places = [_pair(f"node-{model.split()[1]}", model) for model in SPEED]
    history = History()
    for model in models:
        history = _measured(model, tuple(SPEED), history)
    return replace(_trace(images, [place for pair in places for place in pair]), history=history)


WORKLOADS = (
    Workload(name="overnight", build=overnight, judged_by=("makespan",)),
    Workload(name="mixed", build=mixed, judged_by=("makespan", "longest wait")),
    Workload(name="interactive", build=interactive, judged_by=("interactive wait p99", "makespan")),
    Workload(name="flooding", build=flooding, judged_by=("small wait p99", "lag", "makespan"), kind=owner_of),
    Workload(name="fast and slow", build=fast_and_slow, judged_by=("makespan",)),
    Workload(name="fast and slow, unmeasured", build=fast_and_slow_unmeasured, judged_by=("makespan",)),
    Workload(name="gangs", build=gangs, judged_by=("makespan", "gang wait p99")),
    Workload(
        name="one GPU", build=one_gpu, judged_by=("interactive response p99", "makespan", "loads"), has_one_gpu=True
    ),
    Workload(name="large", build=large, judged_by=("makespan", "interactive wait p99", "lag")),
)


def _count(full: int, size: float) -> int:
    return max(1, round(full * size))


def _place(name: str, device_model: str) -> Place:
    node = name.split("/")[0]
    return Place(
        id=SlotId(name),
        node=node,
        device=name,
        device_model=device_model,
        engines=frozenset({"comfyui", "trainer"}),
    )


def _pair(node: str, device_model: str) -> tuple[Place, Place]:
    return _place(f"{node}/gpu0", device_model), _place(f"{node}/gpu1", device_model)


def _image(
    chance: Random, at_s: float, model: str, least: int, most: int, *, owner: str = "ada", **changes: Any
) -> Arrival:  # changes are the other fields of Arrival
    """An image that takes between so many seconds on an RTX 5070 Ti, and in proportion elsewhere."""
    base = chance.uniform(least, most)
    seconds = {device_model: round(base / speed, 3) for device_model, speed in SPEED.items()}
    return Arrival(id=0, at_s=round(at_s, 3), owner=owner, engine="comfyui", model=model, seconds=seconds, **changes)


def _trace(arrivals: Iterable[Arrival], places: Iterable[Place]) -> Trace:
    """Number the tasks in order of arrival, as submission does."""
    in_order = sorted(arrivals, key=lambda arrival: arrival.at_s)
    return Trace(
        arrivals=tuple(replace(arrival, id=number) for number, arrival in enumerate(in_order, start=1)),
        places=tuple(places),
        loads=LOADS,
    )


def _measured(model: str, device_models: Iterable[str], history: History | None = None) -> History:
    """What a day of 30 s images with a checkpoint has taught about some cards."""
    history = history or History()
    for device_model in device_models:
        key = DurationKey("comfyui", model, device_model)
        history = observe(history, key, 30.0 / SPEED[device_model])
    return history
