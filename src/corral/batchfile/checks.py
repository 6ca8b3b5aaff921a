"""Checks that need more than one value: names and references between tasks, and inputs against their engine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from corral.batchfile.drawing import draw_inputs, list_wildcards
from corral.batchfile.expanding import Expanded
from corral.batchfile.shape import BatchShape, OutputShape, TaskShape
from corral.cluster.document import Document, YamlPath
from corral.engine_kinds import ENGINES
from corral.engines.inputs import check_inputs
from corral.errors import did_you_mean
from corral.work import Json

_MOST_PROBLEMS = 1000
"""Problems with inputs, after which no further task of the same entry is checked: 10,000 tasks with 100 unknown inputs
each took two minutes to say the same 100 names."""


def check(tasks: Sequence[Expanded], shape: BatchShape, document: Document) -> None:
    """Report every problem between the parts of a well-shaped file."""
    first: dict[str, Expanded] = {}
    for expanded in tasks:
        first.setdefault(expanded.task.name, expanded)
    engines = {name: engine_of(expanded.task, shape) for name, expanded in first.items()}
    described: set[int] = set()
    counts: Counter[int] = Counter()
    for expanded in tasks:
        task, at = expanded.task, expanded.at
        if first[task.name] is not expanded:
            what = f"two tasks are called `{task.name[:60]}`"
            document.report("batchfile.duplicate_name", what, at=(*at, "name"), hint="rename one of them")
        _check_needs(task, engines, document, at)
        if expanded.index not in described:
            described.add(expanded.index)
            _check_engine(expanded, shape, document)
        if counts[expanded.index] < _MOST_PROBLEMS:
            counts[expanded.index] += _check_inputs(expanded, shape, document)


def engine_of(task: TaskShape, shape: BatchShape) -> str | None:
    """Return a task's engine: its own, else the default."""
    return task.engine or (shape.defaults.engine if shape.defaults else None)


def inputs_of(task: TaskShape, shape: BatchShape) -> dict[str, Json]:
    """Return a task's inputs: its own over the defaults."""
    return {**(shape.defaults.inputs if shape.defaults else {}), **task.inputs}


def _check_needs(task: TaskShape, engines: Mapping[str, str | None], document: Document, at: YamlPath) -> None:
    for place, need, output in _list_references(task, at):
        if isinstance(need, int):
            continue
        if need == task.name:
            document.report("batchfile.needs_itself", f"`{need[:60]}` needs itself", at=place, hint="remove it")
        elif need not in engines:
            hint = did_you_mean(need, engines)
            document.report(
                "batchfile.unknown_task", f"no task of this batch is called `{need[:60]}`", at=place, hint=hint
            )
        elif output is not None and (known := _list_outputs(engines[need])) and not _is_among(output, known):
            what = f"`{need[:60]}` makes no `{output[:60]}`"
            document.report("batchfile.unknown_output", what, at=place, hint=did_you_mean(output, known))


def _list_references(task: TaskShape, at: YamlPath) -> Iterator[tuple[YamlPath, str | int, str | None]]:
    for number, need in enumerate(task.needs):
        yield (*at, "needs", number), need, None
    for name, file in task.files.items():
        if isinstance(file, OutputShape):
            yield (*at, "files", name), file.task, file.output


def _list_outputs(engine: str | None) -> list[str]:
    """Return the names of an engine's outputs; the task decides on what is in angle brackets in one."""
    kind = ENGINES.get(engine or "")
    return [rule.name for rule in kind.outputs] if kind else []


def _is_among(output: str, names: Sequence[str]) -> bool:
    """Whether an output can have this name."""
    patterns = (re.sub(r"<[^>]+>", ".+", re.escape(name)) for name in names)
    return any(re.fullmatch(pattern, output) for pattern in patterns)


def _check_engine(expanded: Expanded, shape: BatchShape, document: Document) -> None:
    task, at = expanded.task, expanded.at
    engine = engine_of(task, shape)
    if engine is None:
        name = shape.tasks[expanded.index].name
        what = f"`{name[:60]}` names no engine"
        document.report("batchfile.missing_key", what, at=at, hint=f"add `engine`: one of {', '.join(ENGINES)}")
        return
    kind = ENGINES.get(engine)
    if kind is None:
        return
    if kind.needs_model and not (task.model or (shape.defaults and shape.defaults.model)):
        what = f"the engine {engine} needs a model"
        hint = "add `model`: a name of `corral models list`"
        document.report("batchfile.missing_key", what, at=(*at, "model"), hint=hint)
    count = len(task.files) + sum(name not in task.files for name in (shape.defaults.files if shape.defaults else ()))
    if count < kind.files.minimum or (kind.files.maximum is not None and count > kind.files.maximum):
        what = f"the engine {engine} takes {kind.files.summary}; here are {count}"
        document.report("batchfile.files", what, at=(*at, "files"), hint=f"give it {kind.files.summary}")


def _check_inputs(expanded: Expanded, shape: BatchShape, document: Document) -> int:
    """Check what the engine will get, with everything drawn as any key draws it; return how many problems it has."""
    engine = engine_of(expanded.task, shape)
    if engine is None:
        return 0
    inputs = inputs_of(expanded.task, shape)
    wildcards = dict.fromkeys(shape.wildcards, ("drawn",))
    if wildcards:
        for name, wildcard in list_wildcards(inputs):
            if wildcard not in wildcards:
                what = f"there is no wildcard `{wildcard[:60]}`"
                place = expanded.locate(("inputs", name))
                document.report("batchfile.wildcard", what, at=place, hint=did_you_mean(wildcard, wildcards))
    kind = ENGINES.get(engine)
    if kind is not None and any(isinstance(inputs.get(name), str) for name in kind.object_inputs):
        return 0  # a file that could not be read, and is reported
    problems = check_inputs(engine, draw_inputs(inputs, wildcards, expanded.task.name))
    for problem in problems:
        place = expanded.locate(tuple(_parse_path(problem.where or "")))
        document.report(problem.code, problem.what, at=place, hint=problem.hint)
    return len(problems)


def _parse_path(where: str) -> list[str | int]:
    """Read a path such as `inputs.messages[0].role`."""
    return [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", where)]
