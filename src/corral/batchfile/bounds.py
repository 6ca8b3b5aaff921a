"""Bounds on what a batch file stands for, so that a small one cannot take the memory of the server that works it out.

A task is measured once, however many tasks it means: this takes time by the size of the file, not of the batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from corral.batchfile.drawing import find_names
from corral.batchfile.shape import BatchShape, DefaultsShape, TaskShape
from corral.cluster.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most that one batch file can stand for."""

    input_bytes: int
    """Inputs and files of all tasks as JSON, with the defaults and the longest entries of wildcards in each."""
    needs: int
    """Needs of all tasks together."""


def is_within(bounds: Bounds, shape: BatchShape, counts: Sequence[int], document: Document) -> bool:
    """Whether a batch is within the bounds, when each of its tasks is meant that many times; reports why it is not."""
    longest = _measure_wildcards(shape)
    named: Mapping[str | int, int] = {task.name: count for task, count in zip(shape.tasks, counts, strict=True)}
    defaults = shape.defaults or DefaultsShape.model_validate({})
    size = needs = 0
    for index, (task, count) in enumerate(zip(shape.tasks, counts, strict=True)):
        size += _measure_task(task, defaults, count, longest)
        needs += count * sum(named.get(need, 1) for need in task.needs or defaults.needs)
        if size > bounds.input_bytes:
            what = f"the inputs of all tasks, defaults included, have more than {bounds.input_bytes} bytes"
            hint = "submit it with `corral submit`, which sends large batches in parts, or upload files instead"
        elif needs > bounds.needs:
            what = f"the tasks have more than {bounds.needs} needs together"
            hint = "let one task collect the outputs of many, and others need that one"
        else:
            continue
        document.report("batchfile.too_large", what, at=("tasks", index), hint=hint)
        return False
    return True


def _measure_task(task: TaskShape, defaults: DefaultsShape, count: int, longest: Mapping[str, int]) -> int:
    """Return the bytes of what a task and the defaults say, times the tasks that it means."""
    repeated = {name: value for name, value in (defaults.inputs | task.inputs).items() if name not in task.matrix}
    varied = (count // len(values) * _measure(values, longest) for values in _list_varied(task))
    return count * _measure([repeated, defaults.files | task.files], longest) + sum(varied)


def _list_varied(task: TaskShape) -> Iterator[Sequence[object]]:
    return (values for values in (task.prompts, *task.matrix.values()) if isinstance(values, tuple) and values)  # pyright: ignore[reportUnknownVariableType]  files are taken in


def _measure_wildcards(shape: BatchShape) -> dict[str, int]:
    lists = {name: lines for name, lines in shape.wildcards.items() if isinstance(lines, tuple)}
    return {name: max(len(json.dumps(line)) for line in lines) for name, lines in lists.items()}


def _measure(value: object, longest: Mapping[str, int]) -> int:
    """Return the bytes of a value as JSON, with the longest entry of each of its wildcards."""
    text = json.dumps(value, default=dict)  # a file is a model, which is a dict of its fields
    return len(text) + sum(longest.get(name, 0) for name in find_names(text))
