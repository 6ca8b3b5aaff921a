"""What deadlines and cheap power bring: cost and lateness of a week with them and without, in simulated time.

One card, five working days. Every evening at six a batch of pictures is wanted by seven in the morning; another owner
has some each morning, and people ask for single ones by day. In the busy week the owner of the evening batches has
more pictures waiting than fit; in the light one the card has time to wait. Power costs a third less from ten in the
evening to six in the morning. Each week is played four ways. Nothing is measured on a machine, so the figures are the
same everywhere. `python -m benchmarks.tariffs` prints the tables of docs/concepts/policies.md.

The card's draw and the prices are assumptions: 250 W, the board power of an RTX 5070 Ti with a limit, and round prices
of a household in Germany in 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random

from benchmarks.table import show
from corral.cluster.prices import Electricity, TariffWindow
from corral.hours import make_hours
from corral.scheduling.durations import History, observe
from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.outcome import find_quantile
from corral.scheduling.simulator.values import Arrival, Run, Span, Trace
from corral.scheduling.values import DurationKey, Place, PolicyBounds, TaskClass
from corral.work import SlotId

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR_S = 3600.0
CARD_W = 250.0
TARIFF = Electricity(
    price_per_kwh=0.36,
    tariff=(
        TariffWindow(price_per_kwh=0.24, hours=make_hours({"daily": ((0, 6 * 60), (22 * 60, 24 * 60))}, zone="UTC")),
    ),
)
DAYS = 5
PICTURES = 700
"""Of each evening's batch: about six hours, of the thirteen until seven and the eight in which power is cheap."""
WEEKS = {"A busy week": 9_000, "A light week": 0}
"""Pictures that wait from the beginning on."""
EVENING_S, MORNING_S = 18 * HOUR_S, 31 * HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to ask for the same week."""

    name: str
    has_deadline: bool
    waits_for_cheap: bool


WAYS = (
    Way(name="as they come", has_deadline=False, waits_for_cheap=False),
    Way(name="`--by 07:00`", has_deadline=True, waits_for_cheap=False),
    Way(name="`--when cheap`", has_deadline=False, waits_for_cheap=True),
    Way(name="`--by 07:00 --when cheap`", has_deadline=True, waits_for_cheap=True),
)


def build_week(way: Way, *, backlog: int, size: float = 1.0) -> Trace:
    """Build the week as it is asked for that way; `size` scales the numbers of tasks, not their lengths.

    `backlog` pictures of the same owner wait from its beginning on.
    """
    chance, numbers = Random(31), count(1)
    arrivals: list[Arrival] = []
    deadlines: dict[int, datetime] = {}

    def add(at_s: float, number: int, **changes: object) -> None:
        for _ in range(max(1, round(number * size))):
            seconds = {"*": chance.uniform(27, 33)}
            fields = {"id": next(numbers), "at_s": at_s, "engine": "comfyui", "model": "sdxl", "seconds": seconds}
            arrivals.append(Arrival(**{**fields, **changes}))  # pyright: ignore[reportArgumentType]  fields of Arrival

    if backlog:
        add(8 * HOUR_S, backlog, owner="ada")
    for day in range(DAYS):
        midnight = day * 24 * HOUR_S
        add(midnight + 9 * HOUR_S, 300, owner="bob")
        for _ in range(40):
            at_s = midnight + chance.uniform(9, 23) * HOUR_S
            add(at_s, 1, owner=chance.choice(("ada", "bob", "eve")), task_class=TaskClass.INTERACTIVE)
        evening = {"owner": "ada", "waits_for_cheap": way.waits_for_cheap}
        if way.has_deadline:
            deadlines[day] = MONDAY + timedelta(seconds=midnight + MORNING_S)
            evening["deadline"] = day
        add(midnight + EVENING_S, PICTURES, **evening)
    key = DurationKey("comfyui", "sdxl", "RTX 5070 Ti")
    return Trace(
        arrivals=tuple(sorted(arrivals, key=lambda arrival: (arrival.at_s, arrival.id))),
        places=(
            Place(
                id=SlotId("desk/gpu0"), node="desk", device="desk/gpu0", device_model="RTX 5070 Ti",
                engines=frozenset({"comfyui"}),
            ),
        ),
        history=observe(History(), key, 30.0),
        bounds=PolicyBounds(cheap_hours=TARIFF.find_cheap_hours()),
        deadlines=deadlines,
        start=MONDAY,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """The evening batches of a week as they were played."""

    late: int
    """Batches that were not done by seven."""
    worst_s: float
    """How much too late the last of them was done; 0 where none was."""
    cents_each: float
    """For one picture of theirs, in cents."""
    cost: float
    """Of all pictures of the week together, in euros."""
    person_p99_s: float
    """The wait of single pictures that 99 of 100 did not exceed."""


def play_week(way: Way, *, backlog: int, size: float = 1.0) -> Week:
    """Play the week that way."""
    trace = build_week(way, backlog=backlog, size=size)
    run = simulate(trace)
    arrivals = {arrival.id: arrival for arrival in trace.arrivals}
    evening = {task: int(arrival.at_s // (24 * HOUR_S)) for task, arrival in arrivals.items() if _is_evening(arrival)}
    ends = _find_ends(run, evening)
    lateness = [max(0.0, ends[day] - day * 24 * HOUR_S - MORNING_S) for day in range(DAYS)]
    spans = [span for span in run.spans if span.task in evening]
    people = [
        span.from_s - arrivals[span.task].at_s
        for span in run.spans
        if arrivals[span.task].task_class is TaskClass.INTERACTIVE
    ]
    return Week(
        late=sum(late > 0 for late in lateness),
        worst_s=max(lateness),
        cents_each=100 * sum(map(_price, spans)) / len(spans),
        cost=sum(map(_price, run.spans)),
        person_p99_s=find_quantile(sorted(people), 0.99),
    )


def _is_evening(arrival: Arrival) -> bool:
    return arrival.task_class is TaskClass.BATCH and arrival.at_s % (24 * HOUR_S) == EVENING_S


def _find_ends(run: Run, evening: Mapping[int, int]) -> dict[int, float]:
    ends = dict.fromkeys(range(DAYS), 0.0)
    for span in run.spans:
        if span.task in evening:
            ends[evening[span.task]] = max(ends[evening[span.task]], span.until_s)
    return ends


def _price(span: Span) -> float:
    """What a picture costs, at the price of its beginning: it takes half a minute."""
    kwh = CARD_W * (span.until_s - span.from_s) / HOUR_S / 1000
    return kwh * TARIFF.find_price(MONDAY + timedelta(seconds=span.from_s))


def make_rows(weeks: Iterable[tuple[Way, Week]]) -> list[tuple[str, ...]]:
    """Make the rows of the table."""
    return [
        (
            way.name,
            f"{week.late} of {DAYS}",
            f"{week.worst_s / HOUR_S:.1f} h" if week.late else "-",
            f"{week.cents_each:.3f}",
            f"{week.cost:.2f}",
            f"{week.person_p99_s:.0f} s",
        )
        for way, week in weeks
    ]


def main() -> None:
    """Play the week every way and print the table."""
    columns = ("evening batches", "late", "worst", "cents a picture", "EUR a week", "person's wait p99")
    for title, backlog in WEEKS.items():
        show(title, columns, make_rows((way, play_week(way, backlog=backlog)) for way in WAYS))


if __name__ == "__main__":
    main()
