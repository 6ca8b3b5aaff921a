"""One task of the file, written once and meant several times: prompts, times a matrix of inputs, times a count.

The tasks come in the order of the file: every prompt, for each prompt every combination of the matrix with its last
entry changing fastest, and each of these `count` times.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from corral.batchfile.bounds import Bounds, is_within
from corral.batchfile.drawing import RANDOM, has_seed
from corral.batchfile.shape import MAX_TASKS, BatchShape, OutputShape, TaskShape
from corral.cluster.document import Document, YamlPath
from corral.engine_facts import EngineKind
from corral.engine_kinds import ENGINES
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Expanded:
    """A task of the batch, and where the file has it."""

    task: TaskShape
    index: int
    """Of the task in the file."""
    varied: Mapping[str, YamlPath]
    """The inputs that come from `prompts` or `matrix`, and their places."""

    @property
    def at(self) -> YamlPath:
        """The place of the task in the file."""
        return ("tasks", self.index)

    def locate(self, path: YamlPath) -> YamlPath:
        """Find the place in the file of a field of this task: `("inputs", "steps")`."""
        if path[:1] == ("inputs",):
            for name in (".".join(map(str, path[1:3])), *map(str, path[1:2])):
                if name in self.varied:
                    return self.varied[name]
        return (*self.at, *path)


def expand(shape: BatchShape, document: Document, bounds: Bounds | None = None) -> tuple[Expanded, ...]:
    """Return the tasks of the batch, or none where it is beyond the bounds; problems are reported in the document."""
    counts = [_count(task) for task in shape.tasks]
    if sum(counts) > MAX_TASKS:
        what = f"prompts, matrices and counts make {sum(counts)} tasks, more than {MAX_TASKS}"
        document.report("batchfile.too_large", what, at=("tasks",), hint="write several batch files")
        return ()
    if bounds is not None and not is_within(bounds, shape, counts, document):
        return ()
    names = {task.name: _list_names(task) for task in shape.tasks if _is_template(task)}
    return tuple(
        expanded
        for index, task in enumerate(shape.tasks)
        for expanded in _expand_task(_name_needs(task, names, document, ("tasks", index)), index, shape, document)
    )


def _is_template(task: TaskShape) -> bool:
    return bool(task.prompts or task.matrix or task.count is not None)


def _count(task: TaskShape) -> int:
    return (
        max(1, len(_values(task.prompts)))
        * math.prod(len(_values(v)) for v in task.matrix.values())
        * (task.count or 1)
    )


def _values(values: object) -> tuple[Json, ...]:
    return values if isinstance(values, tuple) else ()  # pyright: ignore[reportUnknownVariableType]  files are taken in


def _list_names(task: TaskShape) -> tuple[str, ...]:
    count = _count(task)
    return tuple(f"{task.name}-{number:0{len(str(count))}}" for number in range(1, count + 1))


def _expand_task(task: TaskShape, index: int, shape: BatchShape, document: Document) -> Iterator[Expanded]:
    if not _is_template(task):
        yield Expanded(task=task, index=index, varied={})
        return
    engine = task.engine or (shape.defaults.engine if shape.defaults else None)
    kind = ENGINES.get(engine or "")
    places: dict[str, YamlPath] = {name: ("tasks", index, "matrix", name) for name in task.matrix}
    lists = {name: _values(values) for name, values in task.matrix.items()}
    if task.prompts:
        text = kind.text_input if kind else None
        if kind is not None and text is None:
            what = f"the engine {kind.name} takes no prompt"
            document.report("batchfile.prompts", what, at=("tasks", index, "prompts"), hint="use `matrix` instead")
        elif text in lists:
            what = f"`prompts` and `matrix.{text}` are the same"
            document.report("batchfile.prompts", what, at=("tasks", index, "prompts"), hint="remove one of them")
        text = text or "prompt"
        places[text] = ("tasks", index, "prompts")
        lists = {text: _values(task.prompts), **lists}
    common: dict[str, Json] = {**(shape.defaults.inputs if shape.defaults else {}), **task.inputs}
    combinations = itertools.product(*lists.values(), range(task.count or 1))
    for name, (*values, _) in zip(_list_names(task), combinations, strict=False):
        varied = dict(zip(lists, values, strict=True))
        inputs = _set_inputs(task.inputs, common, _add_seed(varied, common, task, kind))
        update = {"name": name, "inputs": inputs, "prompts": (), "matrix": {}, "count": None}
        yield Expanded(task=task.model_copy(update=update), index=index, varied=places)


def _add_seed(
    varied: dict[str, Json], common: Mapping[str, Json], task: TaskShape, kind: EngineKind | None
) -> dict[str, Json]:
    """Give a task that is counted a seed of its own, unless a seed is written: without, all would be the same."""
    if kind is None or kind.seed_input is None or (task.count or 1) == 1 or has_seed({**common, **varied}):
        return varied
    return {**varied, kind.seed_input: RANDOM}


def _set_inputs(own: Mapping[str, Json], common: Mapping[str, Json], varied: Mapping[str, Json]) -> dict[str, Json]:
    """Set inputs by name; `set.3.cfg` is the entry `3.cfg` of the input `set`."""
    inputs = dict(own)
    for key, value in varied.items():
        name, dot, entry = key.partition(".")
        before = inputs.get(name, common.get(name))
        inputs[name] = {**(before if isinstance(before, dict) else {}), entry: value} if dot else value
    return inputs


def _name_needs(task: TaskShape, names: Mapping[str, tuple[str, ...]], document: Document, at: YamlPath) -> TaskShape:
    """Replace a need that stands for several tasks by all of them."""
    for name, file in task.files.items():
        if isinstance(file, OutputShape) and file.task in names:
            copies = names[str(file.task)]
            what = f"`{str(file.task)[:60]}` stands for {len(copies)} tasks, and a file comes from one"
            place = (*at, "files", name)
            document.report("batchfile.several_tasks", what, at=place, hint=f"name one of them, such as `{copies[0]}`")
            document.unusable.add(place)
    if not any(need in names for need in task.needs):
        return task
    needs = [copy for need in task.needs for copy in names.get(str(need), (need,))]
    return task.model_copy(update={"needs": tuple(needs)})
