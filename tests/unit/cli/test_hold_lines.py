"""The lines of `corral hold`: its turn, why it waits, what it has, and why it has it no longer."""

from __future__ import annotations

from typing import Any

import pytest

from corral.cli.lending import describe_start, describe_wait
from corral.client.holding import describe_loss

HOLD: dict[str, Any] = {
    "id": 7,
    "state": "waiting",
    "note": "",
    "error": None,
    "because": None,
    "granted_at": None,
    "devices": [],
    "waits": {"ahead": 1, "may_start_at": None, "summary": "the one slot is busy"},
}


@pytest.mark.parametrize(
    ("ahead", "words"),
    [(0, "1st in line"), (1, "2nd in line"), (2, "3rd in line"), (10, "11th in line"), (21, "22nd in line")],
)
def test_the_line_says_the_place_in_line_and_why_it_waits(ahead: int, words: str) -> None:
    hold = HOLD | {"waits": HOLD["waits"] | {"ahead": ahead}}

    assert describe_wait(hold) == f"waiting   {words}: the one slot is busy"


def test_a_server_of_an_earlier_version_says_no_place_in_line() -> None:
    assert describe_wait(HOLD | {"waits": {"summary": "the one slot is busy"}}) == "waiting   the one slot is busy"
    assert describe_wait(HOLD | {"waits": None}) == "waiting   the server has not looked at it yet"


def test_a_handover_that_failed_is_the_reason_before_the_rule() -> None:
    error = {"what": "after 60 s, 3.1 GiB of 8.0 GiB are free; held by game.x86_64 (7.9 GiB)"}

    assert describe_wait(HOLD | {"waits": HOLD["waits"] | {"ahead": None}, "error": error}).endswith(error["what"])


def test_memory_that_becomes_free_is_shown_while_it_starts() -> None:
    assert describe_wait(HOLD | {"state": "starting", "note": "3.1 GiB of 8.0 GiB are free"}) == (
        "starting  3.1 GiB of 8.0 GiB are free"
    )


def test_a_start_names_the_devices_and_what_was_checked() -> None:
    devices = [{"device": "desk/gpu0", "model": "RTX 4070"}, {"device": "desk/cpu0", "model": "cpu"}]
    hold = HOLD | {"granted_at": "2026-11-29T23:43:00+00:00", "devices": devices, "note": "9.1 GiB free, checked"}

    assert describe_start(hold).endswith("on desk/gpu0 (RTX 4070), desk/cpu0; 9.1 GiB free, checked")


def test_a_loss_says_why() -> None:
    assert describe_loss(HOLD | {"because": "over"}) == "hold 7: its time is over"
    assert describe_loss(HOLD | {"error": {"what": "its device is gone"}}) == "hold 7: its device is gone"
