"""How long a year of nights takes to simulate: 365 nights of 1,920 images on two cards, 700,800 tasks.

Twice: with nights that are all alike, which are compared and not played again, and with nights in which every image
takes another time (27 s to 33 s, from a generator with a fixed seed), which are all played. Of the second kind only
some nights are run, and the year is that times 365; every night costs the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from benchmarks.table import machine, show
from corral.scheduling.simulator import simulate_nights, summarise
from corral.scheduling.simulator.values import Arrival, Load, Trace
from corral.scheduling.values import Place
from corral.units import Bytes
from corral.work import SlotId

NIGHTS, TASKS, NIGHT_S = 365, 1920, 28_800.0
_GIB = 2**30


def night(seconds: Iterator[float]) -> Trace:
    """A night of images on two cards; `seconds` says how long each takes."""
    arrivals = tuple(
        Arrival(
            id=place + 1,
            at_s=0,
            owner="night",
            engine="comfyui",
            model="images",
            seconds={"*": next(seconds)},
            memory=Bytes(10 * _GIB),
        )
        for place in range(TASKS)
    )
    load = Load(engine="comfyui", model="images", seconds=20, memory=Bytes(8 * _GIB))
    return Trace(arrivals=arrivals, places=(_card(0), _card(1)), loads=(load,))


def alike() -> Iterator[float]:
    """Every image takes 30 s."""
    while True:
        yield 30.0


def spread(seed: int) -> Iterator[float]:
    """Every image takes another time between 27 s and 33 s (the generator is the one of ANSI C)."""
    state = seed
    while True:
        state = (1_103_515_245 * state + 12_345) % 2**31
        yield 27 + 6 * state / 2**31


def _card(index: int) -> Place:
    name = SlotId(f"hydra-compute/gpu{index}")
    return Place(
        id=name,
        node="hydra-compute",
        device=name,
        device_model="RTX 5070 Ti",
        capacity=Bytes(16 * _GIB),
        engines=frozenset({"comfyui"}),
    )


def _row(name: str, nights: list[Trace]) -> tuple[str, ...]:
    begun = time.process_time()
    images = sum(summarise(trace, run, span_s=NIGHT_S).finished for trace, run in simulate_nights(nights))
    taken = time.process_time() - begun
    seconds_each = taken / len(nights)
    return (
        name,
        str(len(nights)),
        f"{images:,}",
        f"{taken:.1f}",
        f"{seconds_each * NIGHTS:.1f}",
        f"{seconds_each / TASKS * 1e6:.0f}",
    )


def main() -> None:
    """Play both kinds of years and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=30, help="nights that differ, of the 365")
    chosen = parser.parse_args()
    same, other = night(alike()), spread(1)
    rows = [
        _row("all alike", [same] * NIGHTS),
        _row("each another", [night(other) for _ in range(chosen.nights)]),
    ]
    head = ("nights", "run", "images", "s of processor", "s for 365 nights", "µs a task")
    show("A year of nights", head, rows, [machine()])


if __name__ == "__main__":
    main()
