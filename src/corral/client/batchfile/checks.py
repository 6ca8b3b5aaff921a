"""Checks that need more than one value: names and references between tasks, and inputs against their engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from corral.client.batchfile.shape import BatchShape, OutputShape, TaskShape
from corral.cluster.document import Document, Path
from corral.engine_kinds import ENGINES
from corral.engines.inputs import check_inputs
from corral.errors import did_you_mean
from corral.work import Json


def check(shape: BatchShape, document: Document) -> None:
    """Report every problem between the parts of a well-shaped file."""
    first: dict[str, TaskShape] = {}
    for task in shape.tasks:
        first.setdefault(task.name, task)
    engines = {name: engine_of(task, shape) for name, task in first.items()}
    for index, task in enumerate(shape.tasks):
        at: Path = ("tasks", index)
        if first[task.name] is not task:
            what = f"two tasks are called `{task.name[:60]}`"
            document.report("batchfile.duplicate_name", what, at=(*at, "name"), hint="rename one of them")
        _check_needs(task, engines, document, at)
        _check_engine(task, shape, document, at)


def engine_of(task: TaskShape, shape: BatchShape) -> str | None:
    """Return a task's engine: its own, else the default."""
    return task.engine or (shape.defaults.engine if shape.defaults else None)


def inputs_of(task: TaskShape, shape: BatchShape) -> dict[str, Json]:
    """Return a task's inputs: its own over the defaults."""
    return {**(shape.defaults.inputs if shape.defaults else {}), **task.inputs}


def _check_needs(task: TaskShape, engines: Mapping[str, str | None], document: Document, at: Path) -> None:
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
        elif output is not None and (known := _list_outputs(engines[need])) and output not in known:
            what = f"`{need[:60]}` makes no `{output[:60]}`"
            document.report("batchfile.unknown_output", what, at=place, hint=did_you_mean(output, known))


def _list_references(task: TaskShape, at: Path) -> Iterator[tuple[Path, str | int, str | None]]:
    for number, need in enumerate(task.needs):
        yield (*at, "needs", number), need, None
    for name, file in task.files.items():
        if isinstance(file, OutputShape):
            yield (*at, "files", name), file.task, file.output


def _list_outputs(engine: str | None) -> list[str]:
    """Return the outputs that an engine always names the same; none when the task decides on names."""
    kind = ENGINES.get(engine or "")
    names = [rule.name for rule in kind.outputs] if kind else []
    return [] if any(name.startswith("<") for name in names) else names


def _check_engine(task: TaskShape, shape: BatchShape, document: Document, at: Path) -> None:
    engine = engine_of(task, shape)
    if engine is None:
        what = f"`{task.name[:60]}` names no engine"
        document.report("batchfile.missing_key", what, at=at, hint=f"add `engine`: one of {', '.join(ENGINES)}")
        return
    for problem in check_inputs(engine, inputs_of(task, shape)):
        place = (*at, *_parse_path(problem.where or ""))
        document.report(problem.code, problem.what, at=place, hint=problem.hint)
    kind = ENGINES.get(engine)
    if kind is None:
        return
    if kind.needs_model and not (task.model or (shape.defaults and shape.defaults.model)):
        what = f"the engine {engine} needs a model"
        document.report("batchfile.missing_key", what, at=at, hint="add `model`: a name of `corral models list`")
    count = len(task.files) + sum(name not in task.files for name in (shape.defaults.files if shape.defaults else ()))
    if count < kind.files.minimum or (kind.files.maximum is not None and count > kind.files.maximum):
        what = f"the engine {engine} takes {kind.files.summary}; here are {count}"
        document.report("batchfile.files", what, at=(*at, "files"), hint=f"give it {kind.files.summary}")


def _parse_path(where: str) -> list[str | int]:
    """Read a path such as `inputs.messages[0].role`."""
    return [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", where)]
