"""A set file, read in steps: YAML, the workflow files that it names, shape, checks; every problem at once.

Here a file can name workflows of this machine (`workflow: ./portrait.json`); they take the place of their names before
the file is sent, so that a server reads no files of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from corral.batchfile.objects import SourceError, find_path, read_object
from corral.batchfile.shape import is_path
from corral.batchfile.sources import report_source
from corral.batchfile.validating import recode, validate_shape
from corral.cluster.document import Document, YamlPath
from corral.cluster.machine_shapes import Shape
from corral.cluster.parsing import read
from corral.engine_kinds import ENGINES, INSPECT
from corral.errors import CorralError, Kind, ProblemsError, did_you_mean
from corral.narrowing import as_list, as_object
from corral.requests import TaskFields, request_of
from corral.studio.quality.deciding import DECODABLE, Bound
from corral.studio.sets.shape import BoundShape, SetShape, WorkShape
from corral.studio.sets.values import SetFile
from corral.work import Json


class SetFileError(ProblemsError):
    """A set file that cannot be used; `problems` has every reason, in the order of the file."""

    code: ClassVar[str] = "setfile.invalid"


class SetFileMissingError(CorralError):
    """There is no such file, or it cannot be read."""

    code: ClassVar[str] = "setfile.missing"
    kind: ClassVar[Kind] = Kind.MISSING


def open_set_file(path: Path) -> dict[str, Json]:
    """Read the set file at a path, with its workflows in it, as it is sent.

    Raises: SetFileError, SetFileMissingError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = f"the set file cannot be read: {error}"
        raise SetFileMissingError(what, where=str(path), hint="check the path") from error
    document = read(text, filename=str(path))
    _take_in_objects(document, path.parent)
    _read_document(document)
    return document.value


def read_set_value(value: Mapping[str, Json]) -> SetFile:
    """Read a set file that came as JSON; problems have their paths in it as places. Raises: SetFileError."""
    return _read_document(Document("", value))


def _read_document(document: Document) -> SetFile:
    if isinstance(document.value, dict):
        shape = validate_shape(document, SetShape, _find_shape)
        if shape is not None:
            _check(shape, document)
            if not document.problems:
                return _make(shape)
    elif not document.problems:
        hint = "start it with `apiVersion: corral/v1` and `kind: Set`"
        document.report("cluster.bad_value", "the file must be a mapping", at=(), hint=hint)
    raise SetFileError([recode(problem, "setfile.") for problem in document.sort_problems()])


def _find_shape(at: YamlPath) -> type[Shape]:
    match at:
        case ("task",) | ("checks", _):
            return WorkShape
        case ("thresholds", _):
            return BoundShape
        case _:
            return SetShape


def _take_in_objects(document: Document, folder: Path) -> None:
    """Put the content of each workflow file in the place of its name."""
    root = as_object(document.value)
    works: list[tuple[YamlPath, dict[str, Json]]] = [(("task",), as_object(root.get("task")))]
    works += [(("checks", index), as_object(check)) for index, check in enumerate(as_list(root.get("checks")))]
    for at, work in works:
        kind, inputs = ENGINES.get(str(work.get("engine"))), as_object(work.get("inputs"))
        for name in () if kind is None else kind.object_inputs:
            text = inputs.get(name)
            if isinstance(text, str) and is_path(text):
                try:
                    inputs[name] = read_object(find_path(text, folder))
                except SourceError as error:
                    report_source(error, document, (*at, "inputs", name))


def _check(shape: SetShape, document: Document) -> None:
    works: list[tuple[YamlPath, WorkShape]] = [(("task",), shape.task)]
    works += [(("checks", index), check) for index, check in enumerate(shape.checks)]
    for at, work in works:
        if work.engine not in ENGINES:
            what, hint = f"unknown engine `{work.engine[:60]}`", did_you_mean(work.engine, ENGINES)
            document.report("setfile.engine", what, at=(*at, "engine"), hint=hint)
    for name, bound in shape.thresholds.items():
        if bound.least is not None and bound.most is not None and bound.least > bound.most:
            what = f"no value is at least {bound.least:g} and at most {bound.most:g}"
            document.report("setfile.threshold", what, at=("thresholds", name), hint="exchange the two")
    if shape.thresholds and not shape.checks:
        what, hint = "there are thresholds and no checks", "remove one of the two"
        document.report("setfile.threshold", what, at=("thresholds",), hint=hint)
    _check_measures(shape, document)
    if not _has_inspect(shape) and shape.distance is not None:
        what = f"near-duplicates are found by the hash of `{INSPECT.name}`, which is not among the checks"
        document.report("setfile.distance", what, at=("distance",), hint="add it to `checks`, or remove `distance`")


def _check_measures(shape: SetShape, document: Document) -> None:
    """Report thresholds of measures that no check has; an engine that runs elsewhere can have any."""
    kinds = [ENGINES.get(check.engine) for check in shape.checks]
    if not kinds or any(kind is None or kind.remote for kind in kinds):
        return
    known = [value.name for kind in kinds if kind is not None for value in kind.values]
    for name in shape.thresholds:
        if name not in known:
            what, hint = f"no check measures `{name}`", did_you_mean(name, known)
            document.report("setfile.measure", what, at=("thresholds", name), hint=hint)


def _has_inspect(shape: SetShape) -> bool:
    return any(check.engine == INSPECT.name for check in shape.checks)


def _make(shape: SetShape) -> SetFile:
    thresholds = {name: Bound(least=bound.least, most=bound.most) for name, bound in shape.thresholds.items()}
    if _has_inspect(shape):
        thresholds = {DECODABLE: Bound(least=1), **thresholds}
    return SetFile(
        name=shape.name,
        characters=shape.characters,
        shots=shape.shots,
        variants=shape.variants,
        seeds=shape.seeds,
        task=_make_body(shape.task),
        checks=tuple(_make_body(check) for check in shape.checks),
        thresholds=thresholds,
        distance=shape.distance,
        remakes=shape.remakes,
    )


def _make_body(work: WorkShape) -> dict[str, Json]:
    body = {"engine": work.engine, **request_of(work, TaskFields)}
    return {**body, "files": {name: {"upload": text} for name, text in work.files.items()}} if work.files else body
