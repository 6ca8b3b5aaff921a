"""Small universes of traces for the simulator: few names and sizes, so that everything collides."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random
from typing import Any

from hypothesis import strategies as st

from corral.scheduling.simulator.values import Arrival, Load, Outage, Trace
from corral.scheduling.values import Gate, Place, Queue, Share, TaskClass
from corral.units import Bytes
from corral.work import SlotId
from doubles.chances import choose_some, draw_by_chance

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


def _arrival(chance: Random, number: int) -> Arrival:
    """A task of the universe; some need two places, some more memory than there is."""
    return Arrival(
        id=number,
        at_s=chance.choice((0, 0, 3, 7.5, 40)),
        owner=chance.choice(("ada", "bob")),
        engine=chance.choice(ENGINES),
        model=chance.choice((None, "m1", "m2")),
        queue=chance.choice(("default", "night")),
        task_class=chance.choice(tuple(TaskClass)),
        gpus=chance.choice((1, 1, 1, 2)),
        memory=chance.choice((None, 2, 6, 9)),
        seconds=chance.choice(({"*": 5}, {"*": 0}, {"fast": 2.5, "*": 11})),
        fails_after_s=chance.choice(((), (), (), (0,), (3, 1), (2, 2, 2))),
    )


def _outage(chance: Random) -> Outage:
    begin = chance.choice((0, 4, 5, 12))
    return Outage(place=chance.choice(PLACES), from_s=begin, until_s=begin + chance.choice((0.5, 5, 30, inf)))


def traces_on_processors() -> st.SearchStrategy[Trace]:
    """A workload whose places of node b compute on one processor, in all ways of sharing it."""

    def share_processor(trace: Trace, chance: Random) -> Trace:
        places = [
            replace(place, processor=place.device, exclusive=frozenset(choose_some(chance, ENGINES, most=1)))
            for place in trace.places
        ]
        tasks = [replace(task, share=chance.choice((Share.MEMORY, *Share))) for task in trace.arrivals]
        return replace(trace, places=tuple(places), arrivals=tuple(tasks))

    return st.builds(share_processor, traces(), draw_by_chance(lambda chance: chance))


def traces(most_tasks: int = 12, *, plain: bool = False) -> st.SearchStrategy[Trace]:
    """A workload on up to four places; the places of node b share a device.

    A plain one has no limits, no gangs, no memory, and cards of one model.
    """
    return draw_by_chance(lambda chance: _trace(chance, most_tasks, plain=plain))


def _trace(chance: Random, most_tasks: int, *, plain: bool) -> Trace:
    names = choose_some(chance, PLACES, least=1)
    places = tuple(
        a_place(
            name,
            device="b" if name.startswith("b") else name,
            device_model="fast" if plain else chance.choice(("fast", "slow")),
            gate=chance.choice((Gate.OPEN, Gate.OPEN, Gate.OPEN, Gate.PAUSED)),
        )
        for name in names
    )
    tasks = [_arrival(chance, number) for number in range(1, chance.randint(0, most_tasks) + 1)]
    if plain:
        tasks = [replace(task, gpus=1, memory=None, queue="default") for task in tasks]
    outages = [_outage(chance) for _ in range(chance.randint(0, 3))]
    limited = Queue(name="night", pool=frozenset(PLACES[:3]), max_running_per_owner=chance.choice((None, 1)))
    return Trace(
        arrivals=tuple(sorted(tasks, key=lambda task: (task.at_s, task.id))),
        places=places,
        queues={"night": limited},
        loads=tuple(
            Load(engine=engine, model=model, seconds=4, memory=Bytes(2)) for engine in ENGINES for model in ("m1", "m2")
        ),
        outages=tuple(outage for outage in outages if outage.place in names),
    )
