"""The text that people read: one message of all that waits for them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from corral.cluster.receivers import Occasion
from corral.hours import describe_instant
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """The server that a message is from."""

    name: str
    """Of its cluster."""
    link: str | None
    """The address under which people reach it."""
    zone: str
    """The time zone of times."""


def compose(sender: Sender, messages: Sequence[Message]) -> Text:
    """Compose one message of those that wait, the oldest first."""
    if len(messages) == 1:
        headline = _HEADLINES[messages[0].occasion](messages[0], sender)
    else:
        counts = Counter(message.occasion for message in messages)
        headline = ", ".join(_count(occasion, counts[occasion]) for occasion in Occasion if counts[occasion])
    return Text(_shorten(f"{sender.name}: {headline}"), _write(messages, sender))


def _write(messages: Sequence[Message], sender: Sender) -> str:
    order = {occasion: place for place, occasion in enumerate(Occasion)}
    shown = sorted(messages, key=lambda message: order[message.occasion])[:MOST_LINES]
    lines = [_shorten(line) for message in shown for line in _DETAILS[message.occasion](message, sender)]
    if len(messages) > len(shown):
        lines.append(f"and {len(messages) - len(shown):,} more")
    return "\n".join(lines)


_COUNTED: Mapping[Occasion, tuple[str, str]] = {
    Occasion.BATCH_ENDED: ("batch ended", "batches ended"),
    Occasion.TASK_FAILED: ("task failed", "tasks failed"),
    Occasion.FORECAST_MISSED: ("batch will be late", "batches will be late"),
    Occasion.SLOT_CLOSED: ("slot does not work", "slots do not work"),
    Occasion.SLOT_YIELDS: ("GPU given to others", "GPUs given to others"),
    Occasion.DISK_LOW: ("disk is nearly full", "disks are nearly full"),
}


def _count(occasion: Occasion, count: int) -> str:
    return f"{count:,} {_COUNTED[occasion][count > 1]}"


def _name_batch(message: Message) -> str:
    return f"batch {message.data['batch']} ({message.data['name']})"


def _link_batch(message: Message, sender: Sender) -> str:
    batch = message.data["batch"]
    return f"corral batches show {batch}" if sender.link is None else f"{sender.link}/corral/v1/batches/{batch}"


def _head_batch(message: Message, sender: Sender) -> str:
    data = message.data
    counts = [f"{data[state]:,} {state}" for state in ("succeeded", "failed", "cancelled") if data[state]]
    return f"{_name_batch(message)} has ended: {', '.join(counts)}"


def _detail_batch(message: Message, sender: Sender) -> Iterator[str]:
    duration = message.data["duration_s"]
    took = "" if duration is None else f", in {format_duration(duration)}"
    yield f"{_head_batch(message, sender)}{took}"
    yield _link_batch(message, sender)


def _head_task(message: Message, sender: Sender) -> str:
    return f"task {message.data['task']} ({message.data['name']}) has failed"


def _detail_task(message: Message, sender: Sender) -> Iterator[str]:
    data = message.data
    error: Mapping[str, Json] = data["error"] or {}
    of_batch = "" if data["batch"] is None else f" of batch {data['batch']} ({data['batch_name']})"
    yield f"task {data['task']} ({data['name']}){of_batch} has failed: {error.get('what', 'for an unknown reason')}"


def _head_forecast(message: Message, sender: Sender) -> str:
    return f"{_name_batch(message)} cannot be done by {_write_instant(message, 'by', sender)} any more"


def _detail_forecast(message: Message, sender: Sender) -> Iterator[str]:
    ready = "" if message.data["ready_at"] is None else f", about {_write_instant(message, 'ready_at', sender)} instead"
    yield f"{_head_forecast(message, sender)}: {message.data['open']:,} tasks are left{ready}"
    yield _link_batch(message, sender)


def _write_instant(message: Message, name: str, sender: Sender) -> str:
    return describe_instant(datetime.fromisoformat(message.data[name]), message.at, sender.zone)


def _head_slot(message: Message, sender: Sender) -> str:
    return f"{message.data['slot']} does not work"


def _detail_slot(message: Message, sender: Sender) -> Iterator[str]:
    yield f"{_head_slot(message, sender)}, and takes no tasks until it does: {message.data['reason']}"


def _head_yield(message: Message, sender: Sender) -> str:
    return f"{message.data['device']} yields to {message.data['to']}"


def _detail_yield(message: Message, sender: Sender) -> Iterator[str]:
    yield f"{_head_yield(message, sender)} since {_write_instant(message, 'since', sender)}"


def _head_disk(message: Message, sender: Sender) -> str:
    return "the disk is nearly full, and nothing starts"


def _detail_disk(message: Message, sender: Sender) -> Iterator[str]:
    hint = message.data["hint"]
    yield f"{message.data['what']}" + (f"; {hint}" if hint else "")


_HEADLINES: Mapping[Occasion, Callable[[Message, Sender], str]] = {
    Occasion.BATCH_ENDED: _head_batch,
    Occasion.TASK_FAILED: _head_task,
    Occasion.FORECAST_MISSED: _head_forecast,
    Occasion.SLOT_CLOSED: _head_slot,
    Occasion.SLOT_YIELDS: _head_yield,
    Occasion.DISK_LOW: _head_disk,
}
_DETAILS: Mapping[Occasion, Callable[[Message, Sender], Iterator[str]]] = {
    Occasion.BATCH_ENDED: _detail_batch,
    Occasion.TASK_FAILED: _detail_task,
    Occasion.FORECAST_MISSED: _detail_forecast,
    Occasion.SLOT_CLOSED: _detail_slot,
    Occasion.SLOT_YIELDS: _detail_yield,
    Occasion.DISK_LOW: _detail_disk,
}


def _shorten(line: str) -> str:
    printable = make_printable_line(line)
    return printable if len(printable) <= _LONGEST else f"{printable[: _LONGEST - 3]}..."
