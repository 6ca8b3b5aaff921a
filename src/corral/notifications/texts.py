"""The text that people read: one message of all that waits for them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from corral.cluster.receivers import Occasion
from corral.notifications.outbox import Message
from corral.printable import make_printable_line
from corral.units import format_duration
from corral.work import Json

MOST_LINES = 20
"""Of one message; the others are counted."""
_LONGEST = 300
"""Characters of one line: a reason can be a page long."""


@dataclass(frozen=True, slots=True)
class Text:
    """A message to a person."""

    title: str
    body: str


def compose(cluster: str, messages: Sequence[Message], *, link: str | None) -> Text:
    """Compose one message of those that wait, the oldest first; `link` is the address of the server."""
    if len(messages) == 1:
        headline = _HEADLINES[messages[0].occasion](messages[0].data)
        return Text(_shorten(f"{cluster}: {headline}"), _write(messages, link))
    counts = Counter(message.occasion for message in messages)
    parts = [_count(occasion, counts[occasion]) for occasion in Occasion if counts[occasion]]
    return Text(_shorten(f"{cluster}: {', '.join(parts)}"), _write(messages, link))


def _write(messages: Sequence[Message], link: str | None) -> str:
    order = {occasion: place for place, occasion in enumerate(Occasion)}
    shown = sorted(messages, key=lambda message: order[message.occasion])[:MOST_LINES]
    lines = [_shorten(line) for message in shown for line in _DETAILS[message.occasion](message.data, link)]
    if len(messages) > len(shown):
        lines.append(f"and {len(messages) - len(shown):,} more")
    return "\n".join(lines)


def _count(occasion: Occasion, count: int) -> str:
    nouns = {
        Occasion.BATCH_ENDED: ("batch ended", "batches ended"),
        Occasion.TASK_FAILED: ("task failed", "tasks failed"),
        Occasion.SLOT_CLOSED: ("slot does not work", "slots do not work"),
        Occasion.DISK_LOW: ("disk is nearly full", "disks are nearly full"),
    }
    return f"{count:,} {nouns[occasion][count > 1]}"


def _name_batch(data: Mapping[str, Json]) -> str:
    return f"batch {data['batch']} ({data['name']})"


def _head_batch(data: Mapping[str, Json]) -> str:
    counts = [f"{data[state]:,} {state}" for state in ("succeeded", "failed", "cancelled") if data[state]]
    return f"{_name_batch(data)} has ended: {', '.join(counts)}"


def _detail_batch(data: Mapping[str, Json], link: str | None) -> Iterator[str]:
    took = "" if data["duration_s"] is None else f", in {format_duration(data['duration_s'])}"
    yield f"{_head_batch(data)}{took}"
    yield f"corral batches show {data['batch']}" if link is None else f"{link}/corral/v1/batches/{data['batch']}"


def _head_task(data: Mapping[str, Json]) -> str:
    return f"task {data['task']} ({data['name']}) has failed"


def _detail_task(data: Mapping[str, Json], link: str | None) -> Iterator[str]:
    error: Mapping[str, Json] = data["error"] or {}
    of_batch = "" if data["batch"] is None else f" of batch {data['batch']} ({data['batch_name']})"
    yield f"task {data['task']} ({data['name']}){of_batch} has failed: {error.get('what', 'for an unknown reason')}"


def _head_slot(data: Mapping[str, Json]) -> str:
    return f"{data['slot']} does not work"


def _detail_slot(data: Mapping[str, Json], link: str | None) -> Iterator[str]:
    yield f"{_head_slot(data)}, and takes no tasks until it does: {data['reason']}"


def _head_disk(data: Mapping[str, Json]) -> str:
    return "the disk is nearly full, and nothing starts"


def _detail_disk(data: Mapping[str, Json], link: str | None) -> Iterator[str]:
    yield f"{data['what']}" + (f"; {data['hint']}" if data["hint"] else "")


_HEADLINES: Mapping[Occasion, Callable[[Mapping[str, Json]], str]] = {
    Occasion.BATCH_ENDED: _head_batch,
    Occasion.TASK_FAILED: _head_task,
    Occasion.SLOT_CLOSED: _head_slot,
    Occasion.DISK_LOW: _head_disk,
}
_DETAILS: Mapping[Occasion, Callable[[Mapping[str, Json], str | None], Iterator[str]]] = {
    Occasion.BATCH_ENDED: _detail_batch,
    Occasion.TASK_FAILED: _detail_task,
    Occasion.SLOT_CLOSED: _detail_slot,
    Occasion.DISK_LOW: _detail_disk,
}


def _shorten(line: str) -> str:
    printable = make_printable_line(line)
    return printable if len(printable) <= _LONGEST else f"{printable[: _LONGEST - 3]}..."
