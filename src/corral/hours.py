"""Hours of a week in a time zone: when something is open, when it opens and closes next.

Belongs here: the calendar, from wall time to instants and back; which zone the machine is in.
Does not belong here: how hours are written in a file (`corral.cluster.fields`), what opens and closes by them.
May import: nothing of Corral.

A span belongs to the day on which it begins, and can go over midnight: Friday's `22:00-17:00` ends on Saturday. Spans
that meet are one. Where the clock is put forward, a time that it skips counts as that much later; where it is put back,
a time that it shows twice is the first of the two. So a span over such a night is an hour shorter or longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY_MINUTES = 24 * 60
_WEEK = len(DAYS)
_BEFORE, _AFTER = timedelta(days=2), timedelta(days=2 * _WEEK + 2)
"""How far around a day its openings are laid out: those that begin within a week, to their end."""

Span = tuple[int, int]
"""Minutes after a day's midnight at which a span begins and ends; the end is above `DAY_MINUTES` on the next day."""


class OpenSpan(NamedTuple):
    """An opening, from its beginning to its end, in UTC."""

    opens_at: datetime
    closes_at: datetime | None
    """None where no end is within a week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """When something is open, by the days of a week."""

    spans: tuple[tuple[Span, ...], ...]
    """Of each day from Monday on; a day without any is closed, apart from what begins on the day before."""
    zone: str
    """The name of the time zone, such as `Europe/Berlin`."""
    interrupt: bool = False
    """Whether what still runs at the end is interrupted; else nothing starts that would not end before."""
    guests: bool = False
    """Whether requests through doors are served outside of them too."""

    def __str__(self) -> str:
        days = [
            f"{days} {', '.join(map(_write_span, spans)) or 'closed'}"
            for days, spans in _group_days(self.spans).items()
        ]
        notes = (self.zone, "interrupts" if self.interrupt else "", "guests at any time" if self.guests else "")
        return f"{'; '.join(days)} ({', '.join(filter(None, notes))})"

    def find_opening(self, at: datetime) -> OpenSpan | None:
        """Find the opening of that instant, or else the next one; None where nothing opens within a week."""
        for opening in _list_openings(self, at.astimezone(UTC).date()):
            if opening.closes_at is None or opening.closes_at > at:
                return opening
        return None

    def is_open(self, at: datetime) -> bool:
        """Whether it is open; it opens with the first instant of a span, and is closed at the last."""
        opening = self.find_opening(at)
        return opening is not None and opening.opens_at <= at

    def find_next_change(self, at: datetime) -> datetime | None:
        """Find when it opens or closes next after an instant; None where neither happens within a week."""
        opening = self.find_opening(at)
        if opening is None:
            return None
        return opening.opens_at if opening.opens_at > at else opening.closes_at

    def find_start(self, at: datetime, lasting: timedelta) -> datetime | None:
        """Find the first instant from `at` on at which something can start that must end before closing.

        None where no opening of the next week is as long.
        """
        for opening in _list_openings(self, at.astimezone(UTC).date()):
            start = max(at, opening.opens_at)
            if opening.closes_at is None or (opening.closes_at > at and start + lasting <= opening.closes_at):
                return start
        return None

    def describe_instant(self, at: datetime, now: datetime) -> str:
        """Print an instant as people of the zone do: `22:00`, with the day where it is not within a day."""
        return describe_instant(at, now, self.zone)


def describe_instant(at: datetime, now: datetime, zone: str) -> str:
    """Print an instant in a zone: `22:00`, `Mon 22:00` beyond a day from now, with the date beyond a week."""
    local = at.astimezone(ZoneInfo(zone))
    if abs(at - now) < timedelta(days=1):
        return f"{local:%H:%M}"
    return f"{local:%a %H:%M}" if abs(at - now) < timedelta(days=_WEEK) else f"{local:%Y-%m-%d %H:%M}"


def format_instant(at: datetime, zone: str) -> str:
    """Print an instant in a zone with its day: `Mon 2026-11-30 22:00`."""
    return f"{at.astimezone(ZoneInfo(zone)):%a %Y-%m-%d %H:%M}"


def make_hours(days: Mapping[str, tuple[Span, ...]], *, zone: str, interrupt: bool = False) -> Hours:
    """Make the hours of `daily`, `weekdays`, `weekends` and single days; the narrowest name counts for a day."""
    spans = [
        next((days[name] for name in (day, kind, "daily") if name in days), ())
        for kind, members in (("weekdays", DAYS[:5]), ("weekends", DAYS[5:]))
        for day in members
    ]
    return Hours(spans=tuple(spans), zone=zone, interrupt=interrupt)


def find_lowest(priced: Sequence[tuple[float, Hours]], *, otherwise: float) -> Hours | None:
    """Find when the price is lowest: that of the first hours that are open, else `otherwise`; None where it is one.

    All the hours are of one zone, and there are some.
    """
    week = _WEEK * DAY_MINUTES
    bounds = {0, week, *(day * DAY_MINUTES for day in range(_WEEK))}
    windows: list[tuple[float, list[tuple[int, int]]]] = []
    for price, hours in priced:
        spans = [
            (day * DAY_MINUTES + begin, day * DAY_MINUTES + end)
            for day, spans in enumerate(hours.spans)
            for begin, end in spans
        ]
        spans += [(begin - week, end - week) for begin, end in spans if end > week]  # Sunday's go on on Monday
        bounds |= {minute for span in spans for minute in span if 0 < minute < week}
        windows.append((price, spans))
    prices = {
        (begin, end): next((price for price, spans in windows if any(a <= begin < b for a, b in spans)), otherwise)
        for begin, end in pairwise(sorted(bounds))
    }
    lowest = min(prices.values())
    if lowest == max(prices.values()):
        return None
    cheap: list[list[Span]] = [[] for _ in DAYS]
    for (begin, end), price in prices.items():
        if price == lowest:
            day = begin // DAY_MINUTES
            cheap[day].append((begin - day * DAY_MINUTES, end - day * DAY_MINUTES))
    return Hours(spans=tuple(map(tuple, cheap)), zone=priced[0][1].zone)


def find_machine_zone() -> str:
    """Return the name of the machine's time zone; UTC where it has none."""
    from tzlocal import get_localzone_name

    return get_localzone_name() or "UTC"


@lru_cache(maxsize=1024)
def _list_openings(hours: Hours, day: date) -> tuple[OpenSpan, ...]:
    """The openings around a day, in order; those that meet are one."""
    zone = ZoneInfo(hours.zone)
    first, end = day - _BEFORE, day + _AFTER
    openings: list[OpenSpan] = []
    for opens_at, closes_at in sorted(_list_spans(hours, first, end, zone)):
        last = openings[-1] if openings else None
        if last is not None and last.closes_at is not None and opens_at <= last.closes_at:
            openings[-1] = OpenSpan(last.opens_at, max(last.closes_at, closes_at))
        else:
            openings.append(OpenSpan(opens_at, closes_at))
    if openings and openings[-1].closes_at is not None and openings[-1].closes_at >= _to_instant(end, 0, zone):
        last = openings.pop()  # cut off, and longer than a week or not of this one
        if end - last.opens_at.date() > timedelta(days=_WEEK):
            openings.append(OpenSpan(last.opens_at, None))
    return tuple(openings)


def _list_spans(hours: Hours, first: date, end: date, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    for offset in range((end - first).days):
        day = first + timedelta(days=offset)
        for begin, until in hours.spans[day.weekday()]:
            opens_at, closes_at = _to_instant(day, begin, zone), _to_instant(day, until, zone)
            if opens_at < closes_at:
                yield opens_at, closes_at


def _to_instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    days, minute = divmod(minutes, DAY_MINUTES)
    wall = datetime.combine(day + timedelta(days=days), time(minute // 60, minute % 60), zone)
    return wall.astimezone(UTC)


def _group_days(spans: tuple[tuple[Span, ...], ...]) -> dict[str, tuple[Span, ...]]:
    """Days with the same spans under one name, where there is one."""
    if len(set(spans)) == 1:
        return {"daily": spans[0]}
    grouped: dict[str, tuple[Span, ...]] = {}
    for name, days, members in (("weekdays", spans[:5], DAYS[:5]), ("weekends", spans[5:], DAYS[5:])):
        if len(set(days)) == 1:
            grouped[name] = days[0]
        else:
            grouped.update(zip(members, days, strict=True))
    return grouped


def _write_span(span: Span) -> str:
    return "-".join(f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (span[0], _to_clock(span[1])))


def _to_clock(minutes: int) -> int:
    """The time on the clock; the midnight that ends a day is 24:00."""
    return minutes if minutes <= DAY_MINUTES else minutes - DAY_MINUTES
