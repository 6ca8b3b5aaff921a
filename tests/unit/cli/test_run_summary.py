"""The summary of a run as people read it."""

from __future__ import annotations

from corral.cli.running.view import format_failures, format_summary
from corral.client.progress import TaskView
from corral.client.tally import summarise


def test_a_batch_of_which_nothing_ran_is_summarised_as_none_of_its_tasks() -> None:
    cancelled = TaskView(id=1, name="t1", engine="llama", inputs={}, state="cancelled")

    assert format_summary(summarise([cancelled]))[1].split() == ["llama", "0", "of", "1", "-", "-"]


def test_a_failure_is_listed_with_its_reason_its_hint_and_the_next_command() -> None:
    error = {"code": "engine.failed", "what": "it broke", "hint": "mend it"}
    lines = format_failures(
        summarise([TaskView(id=5, name="t5", engine="llama", inputs={}, state="failed", error=error)])
    )

    assert lines == ["t5 failed: error[engine.failed]: it broke", "  hint: mend it", "  more: corral tasks show 5"]
