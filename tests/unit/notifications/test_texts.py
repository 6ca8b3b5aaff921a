"""A message to people has the answer first, on one screen, whatever waits for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from corral.cluster.receivers import Occasion
from corral.notifications.outbox import Channel, Message
from corral.notifications.texts import MOST_LINES, Sender, compose

AT = datetime(2026, 11, 29, tzinfo=UTC)
ENDED = {"batch": 31, "name": "portraits", "succeeded": 1918, "failed": 2, "cancelled": 0, "duration_s": 20467.8}
FAILED = {"task": 7, "name": "ada", "batch": 31, "batch_name": "portraits", "error": {"what": "out of memory"}}


DESK = Sender(name="desk", link=None, zone="Europe/Berlin")


def a_message(occasion: Occasion, data: dict[str, Any]) -> Message:
    return Message(
        id=1,
        channel=Channel.NOTIFY,
        receiver="phone",
        batch=None,
        occasion=occasion,
        message=UUID(int=0),
        at=AT,
        data=data,
        created_at=AT,
        tries=0,
    )


def test_the_end_of_a_batch_has_counts_time_and_what_shows_it() -> None:
    text = compose(DESK, [a_message(Occasion.BATCH_ENDED, ENDED)])
    assert text.title == "desk: batch 31 (portraits) has ended: 1,918 succeeded, 2 failed"
    assert text.body.splitlines() == [
        "batch 31 (portraits) has ended: 1,918 succeeded, 2 failed, in 5h 41m",
        "corral batches show 31",
    ]


def test_a_batch_that_never_started_has_no_duration() -> None:
    data = ENDED | {"succeeded": 0, "failed": 0, "cancelled": 3, "duration_s": None}
    text = compose(DESK, [a_message(Occasion.BATCH_ENDED, data)])
    assert text.body.splitlines()[0] == "batch 31 (portraits) has ended: 3 cancelled"


def test_a_link_goes_to_the_batch() -> None:
    linked = Sender(name="desk", link="https://desk.example.org", zone="UTC")
    text = compose(linked, [a_message(Occasion.BATCH_ENDED, ENDED)])
    assert text.body.splitlines()[-1] == "https://desk.example.org/corral/v1/batches/31"


def test_a_deadline_that_is_missed_is_printed_in_the_time_of_the_cluster() -> None:
    late = {"batch": 31, "name": "portraits", "by": "2026-11-29T06:00:00+00:00", "open": 1200}
    missed = a_message(Occasion.FORECAST_MISSED, late | {"ready_at": "2026-11-29T07:20:00+00:00"})
    text = compose(DESK, [missed])
    assert text.title == "desk: batch 31 (portraits) cannot be done by 07:00 any more"
    assert text.body.splitlines()[0].endswith("by 07:00 any more: 1,200 tasks are left, about 08:20 instead")
    unknown = compose(DESK, [a_message(Occasion.FORECAST_MISSED, late | {"ready_at": None})])
    assert unknown.body.splitlines()[0].endswith("1,200 tasks are left")


def test_a_gpu_that_yields_says_to_what_and_since_when() -> None:
    data = {"device": "desk/gpu0", "to": "game.x86_64 (9.8 GiB)", "since": "2026-11-28T18:02:00+00:00"}
    text = compose(DESK, [a_message(Occasion.SLOT_YIELDS, data)])
    assert text.title == "desk: desk/gpu0 yields to game.x86_64 (9.8 GiB)"
    assert text.body == "desk/gpu0 yields to game.x86_64 (9.8 GiB) since 19:02"


def test_many_messages_are_one_screen_with_ends_first() -> None:
    failures = [a_message(Occasion.TASK_FAILED, FAILED) for _ in range(100)]
    text = compose(DESK, [*failures, a_message(Occasion.BATCH_ENDED, ENDED)])
    lines = text.body.splitlines()
    assert text.title == "desk: 1 batch ended, 100 tasks failed"
    assert lines[0].startswith("batch 31 (portraits) has ended")
    assert lines[2] == "task 7 (ada) of batch 31 (portraits) has failed: out of memory"
    assert lines[-1] == f"and {101 - MOST_LINES} more"
    assert len(lines) == MOST_LINES + 2


def test_what_a_task_says_steers_no_screen_and_fills_none() -> None:
    failed = FAILED | {"error": {"what": "\x1b[2J" + "x" * 5000}}
    text = compose(DESK, [a_message(Occasion.TASK_FAILED, failed)])
    assert "\x1b" not in text.body
    assert len(text.body) == 300


def test_every_occasion_has_a_text() -> None:
    data = ENDED | FAILED | {"slot": "desk/gpu0/comfyui", "reason": "no answer", "what": "9 MiB free", "hint": None}
    at = "2026-11-29T06:00:00+00:00"
    data |= {"device": "desk/gpu0", "to": "steam", "since": at, "by": at, "ready_at": at, "open": 1}
    for occasion in Occasion:
        assert compose(DESK, [a_message(occasion, data)]).body
        assert compose(DESK, [a_message(occasion, data)] * 2).title
