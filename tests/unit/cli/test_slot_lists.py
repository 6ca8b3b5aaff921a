"""`corral slots list` prints when a slot opens or closes, and what has its lanes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from corral.cli.commands.slots import format_gate, format_tasks

SOON = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
LATER = (datetime.now(UTC) + timedelta(hours=9)).isoformat()
CLOCK = f"{datetime.fromisoformat(SOON).astimezone():%H:%M}"


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        ({"opens_at": SOON, "closes_at": LATER}, f"opens {CLOCK}"),
        ({"opens_at": None, "closes_at": SOON}, f"open until {CLOCK}"),
        ({"opens_at": None, "closes_at": None}, "open"),
        ({}, "open"),
    ],
)
def test_the_gate_of_a_slot_with_hours(hours: dict[str, str | None], text: str) -> None:
    assert format_gate({"gate": "open", "gate_reason": "", "problem": None, **hours}) == text


def test_a_slot_that_is_paused_says_that_first() -> None:
    slot = {"gate": "paused", "gate_reason": "by an administrator", "problem": None, "opens_at": SOON}
    assert format_gate(slot) == "paused (by an administrator)"


def test_a_slot_with_lanes_shows_what_has_them_and_how_many_are_left() -> None:
    tasks = [{"task": 12}, {"task": None}, {"task": 15}]
    assert format_tasks({"running": tasks[0], "tasks": tasks, "lanes": 4}) == "12, guest, 15 (3 of 4 lanes)"
    assert format_tasks({"running": tasks[0], "tasks": tasks[:1], "lanes": 1}) == "12"
    assert format_tasks({"running": tasks[0]}) == "12"
    assert format_tasks({"running": None, "tasks": [], "lanes": 4}) == ""
