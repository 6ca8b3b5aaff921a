"""`corral slots list` prints when a slot opens, or until when it is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from corral.cli.commands.slots import format_gate

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
