"""Small universes of traces for the simulator: few names and sizes, so that everything collides."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from hypothesis import strategies as st

from corral.scheduling.simulator.values import Arrival, Load, Outage, Trace
from corral.scheduling.values import Gate, Place, Queue, TaskClass
from corral.units import Bytes
from corral.work import SlotId

PLACES = tuple(SlotId(f"{node}/gpu{index}") for node in "ab" for index in range(2))
ENGINES = ("llama", "comfyui")


def an_arrival(number: int = 1, **changes: Any) -> Arrival:  # changes are the fields of Arrival
    """A task of ada that is there from the start and takes ten seconds anywhere."""
    return Arrival(**{"id": number, "at_s": 0, "owner": "ada", "engine": "llama", "seconds": {"*": 10}, **changes})


def a_place(name: str = "a/gpu0", **changes: Any) -> Place:  # changes are the fields of Place
    """A free place on a card of its own with 8 bytes, where both engines run."""
    defaults = {
        "id": SlotId(name),
        "node": name.partition("/")[0],
        "device": name,
        "device_model": "fast",
        "capacity": Bytes(8),
        "engines": frozenset(ENGINES),
    }
    return Place(**{**defaults, **changes})


def arrivals(number: int) -> st.SearchStrategy[Arrival]:
    """A task of the universe; some need two places, some more memory than there is."""
    return st.builds(
        Arrival,
        id=st.just(number),
        at_s=st.sampled_from([0, 0, 3, 7.5, 40]),
        owner=st.sampled_from(["ada", "bob"]),
        engine=st.sampled_from(ENGINES),
        model=st.sampled_from([None, "m1", "m2"]),
        queue=st.sampled_from(["default", "night"]),
        task_class=st.sampled_from(TaskClass),
        gpus=st.sampled_from([1, 1, 1, 2]),
        memory=st.sampled_from([None, 2, 6, 9]),
        seconds=st.sampled_from([{"*": 5}, {"*": 0}, {"fast": 2.5, "*": 11}]),
    )


outages = st.builds(
    lambda place, begin, length: Outage(place=place, from_s=begin, until_s=begin + length),
    st.sampled_from(PLACES),
    st.sampled_from([0, 4, 5, 12]),
    st.sampled_from([0.5, 5, 30, inf]),
)


@st.composite
def traces(draw: st.DrawFn, most_tasks: int = 12, *, plain: bool = False) -> Trace:
    """A workload on up to four places; the places of node b share a device.

    A plain one has no limits, no gangs, no memory, and cards of one model.
    """
    names = draw(st.lists(st.sampled_from(PLACES), unique=True, min_size=1))
    places = tuple(
        a_place(
            name,
            device="b" if name.startswith("b") else name,
            device_model="fast" if plain else draw(st.sampled_from(["fast", "slow"])),
            gate=draw(st.sampled_from([Gate.OPEN, Gate.OPEN, Gate.OPEN, Gate.PAUSED])),
        )
        for name in names
    )
    tasks = [draw(arrivals(number)) for number in range(1, draw(st.integers(0, most_tasks)) + 1)]
    if plain:
        tasks = [replace(task, gpus=1, memory=None, queue="default") for task in tasks]
    away = [each for each in draw(st.lists(outages, max_size=3)) if each.place in names]
    limited = Queue(name="night", pool=frozenset(PLACES[:3]), max_running_per_owner=draw(st.sampled_from([None, 1])))
    return Trace(
        arrivals=tuple(sorted(tasks, key=lambda task: (task.at_s, task.id))),
        places=places,
        queues={"night": limited},
        loads=tuple(
            Load(engine=engine, model=model, seconds=4, memory=Bytes(2)) for engine in ENGINES for model in ("m1", "m2")
        ),
        outages=tuple(away),
    )
