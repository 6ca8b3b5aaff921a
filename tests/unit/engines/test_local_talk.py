"""What a running job may say, and how it hears that it is to stop."""

from __future__ import annotations

import pytest

from corral.engines.messages import Message
from corral.engines.worker.job import Cancelled, Talk


def test_frequent_previews_are_dropped_before_they_are_made() -> None:
    sent: list[Message] = []
    made: list[int] = []
    talk = Talk("a", sent.append)

    for number in range(50):
        talk.show_preview("text/plain", lambda number=number: made.append(number) or b"x")

    assert len(sent) == len(made) < 50


@pytest.mark.parametrize(("fraction", "sent"), [(-1.0, 0.0), (0.25, 0.25), (7.0, 1.0), (None, None)])
def test_progress_stays_between_nothing_and_all(fraction: float | None, sent: float | None) -> None:
    messages: list[Message] = []

    Talk("a", messages.append).report_progress(fraction, "x" * 1000)

    assert messages[0]["fraction"] == sent
    assert len(messages[0]["note"]) == 200


def test_cancel_is_heard_even_when_it_came_first() -> None:
    rung: list[str] = []
    talk = Talk("a", lambda _message: None)

    talk.cancel()
    talk.call_when_cancelled(lambda: rung.append("bell"))

    assert rung == ["bell"]
    with pytest.raises(Cancelled):
        talk.check()
