"""Valid defaults, so that a test names only what matters to it."""

from __future__ import annotations

from typing import Any

from corral.requests import BatchFields
from corral.tasks.values import Submission, TaskSpec


def a_task(name: str = "task", **changes: Any) -> TaskSpec:  # changes are the fields of TaskSpec
    """A task for the sleeping engine."""
    return TaskSpec(**{"name": name, "engine": "sleep", "inputs": {"seconds": 0}, **changes})


def a_submission(*tasks: TaskSpec, **changes: Any) -> Submission:  # changes are the fields of Submission
    """A batch of the tasks given, or of one."""
    fields = {"owner": "ada", "batch": "batch", "tasks": tasks or (a_task(),), **changes}
    named = None if fields["batch"] is None else BatchFields(name=fields["batch"])
    return Submission(**{**fields, "batch": named})
