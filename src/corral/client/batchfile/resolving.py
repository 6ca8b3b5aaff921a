"""Turns a checked file into tasks for the HTTP API: defaults filled in, units written out, paths made absolute."""

from __future__ import annotations

from pathlib import Path

from corral.client.batchfile.checks import engine_of, inputs_of
from corral.client.batchfile.shape import BatchShape, OutputShape, PathShape, TaskFields, TaskShape, UploadShape
from corral.client.batchfile.values import BatchFile, BatchTask, LocalFile
from corral.cluster.document import Document
from corral.work import Json

_PLAIN = ("queue", "task_class", "priority", "gpus", "memory", "max_attempts", "not_before")
_API_NAMES = {"task_class": "class"}


def resolve(shape: BatchShape, *, folder: Path, document: Document) -> BatchFile:
    """Make the batch; report files of this machine that are not there."""
    tasks: list[BatchTask] = []
    for index, task in enumerate(shape.tasks):
        files = {**(shape.defaults.files if shape.defaults else {}), **task.files}
        local = {
            name: LocalFile(_absolute(file, folder)) for name, file in files.items() if isinstance(file, PathShape)
        }
        for name, file in local.items():
            if not file.path.is_file():
                place = ("tasks", index, "files", name)
                document.report("batchfile.no_file", f"there is no file {file.path}", at=place, hint="check the path")
        tasks.append(_task(task, shape, files, local))
    return BatchFile(name=shape.name, tasks=tuple(tasks))


def _task(
    task: TaskShape,
    shape: BatchShape,
    files: dict[str, OutputShape | PathShape | UploadShape],
    local: dict[str, LocalFile],
) -> BatchTask:
    engine = engine_of(task, shape) or ""
    model = task.model or (shape.defaults.model if shape.defaults else None)
    body: dict[str, Json] = {"name": task.name, "engine": engine, "inputs": inputs_of(task, shape)}
    if model is not None:
        body["model"] = model
    elsewhere = {name: _reference(file) for name, file in files.items() if not isinstance(file, PathShape)}
    if elsewhere:
        body["files"] = elsewhere
    if needs := task.needs or (shape.defaults.needs if shape.defaults else ()):
        body["needs"] = list(needs)
    for name in _PLAIN:
        value = _value(task, shape, name)
        if value is not None:
            body[_API_NAMES.get(name, name)] = value
    timeout = task.timeout or (shape.defaults.timeout if shape.defaults else None)
    if timeout is not None:
        body["timeout"] = timeout.total_seconds()
    return BatchTask(name=task.name, engine=engine, model=model, body=body, local_files=local)


def _value(task: TaskFields, shape: BatchShape, name: str) -> Json:
    own = getattr(task, name)
    return own if own is not None or shape.defaults is None else getattr(shape.defaults, name)


def _reference(file: OutputShape | UploadShape) -> dict[str, Json]:
    if isinstance(file, OutputShape):
        return {"task": file.task, "output": file.output}
    return {"upload": file.upload}


def _absolute(file: PathShape, folder: Path) -> Path:
    path = Path(file.path).expanduser()
    return (path if path.is_absolute() else folder / path).absolute()
