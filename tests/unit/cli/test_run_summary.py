"""The summary of a run as people read it."""

from __future__ import annotations

from corral.cli.running.view import format_end, format_failures, format_summary
from corral.client.progress import TaskView
from corral.client.tally import summarise


def test_a_batch_of_which_nothing_ran_is_summarised_as_none_of_its_tasks() -> None:
    cancelled = TaskView(id=1, name="t1", engine="llama", inputs={}, state="cancelled")

    assert format_summary(summarise([cancelled]))[1].split() == ["llama", "0", "of", "1", "-", "-"]


def test_a_failure_is_listed_with_its_reason_its_hint_and_the_next_command() -> None:
    error = {"code": "engine.failed", "what": "it broke", "where": "node 4 input 'x'", "hint": "mend it"}
    lines = format_failures(
        summarise([TaskView(id=5, name="t5", engine="llama", inputs={}, state="failed", error=error)])
    )

    assert lines == [
        "t5 failed: error[engine.failed]: it broke",
        "  at: node 4 input 'x'",
        "  hint: mend it",
        "  more: corral tasks show 5",
    ]


def test_the_line_of_a_failed_task_has_its_place() -> None:
    error = {"code": "engine.failed", "what": "it broke", "where": "node 4 input 'x'", "hint": "mend it"}

    line = format_end(TaskView(id=5, name="t5", engine="llama", inputs={}, state="failed", error=error))

    assert line == "t5 (llama) failed: it broke (node 4 input 'x')"
