"""Turns a checked file into what the HTTP API takes: the same parts, with units written out and paths made absolute."""

from __future__ import annotations

from pathlib import Path

from corral.client.batchfile.shape import BatchShape, DefaultsShape, OutputShape, PathShape, UploadShape
from corral.client.batchfile.values import BatchFile
from corral.cluster.document import Document
from corral.cluster.document import Path as Place
from corral.requests import BatchFields, TaskFields, request_of
from corral.work import Json


def resolve(shape: BatchShape, *, folder: Path, document: Document) -> BatchFile:
    """Make the batch; report files of this machine that are not there."""
    body = request_of(shape, BatchFields)
    if shape.defaults is not None:
        body["defaults"] = _body(shape.defaults, folder, document, ("defaults",))
    body["tasks"] = [
        {"name": task.name, **_body(task, folder, document, ("tasks", index))} for index, task in enumerate(shape.tasks)
    ]
    return BatchFile(body)


def _body(shape: DefaultsShape, folder: Path, document: Document, at: Place) -> dict[str, Json]:
    body = request_of(shape, TaskFields)
    if shape.engine is not None:
        body["engine"] = shape.engine
    if shape.files:
        body["files"] = {name: _reference(file, folder) for name, file in shape.files.items()}
        _check_paths(body["files"], document, (*at, "files"))
    if shape.needs:
        body["needs"] = list(shape.needs)
    return body


def _check_paths(files: dict[str, dict[str, Json]], document: Document, at: Place) -> None:
    for name, file in files.items():
        if "path" in file and not Path(file["path"]).is_file():
            document.report(
                "batchfile.no_file", f"there is no file {file['path']}", at=(*at, name), hint="check the path"
            )


def _reference(file: OutputShape | PathShape | UploadShape, folder: Path) -> dict[str, Json]:
    match file:
        case OutputShape():
            return {"task": file.task, "output": file.output}
        case UploadShape():
            return {"upload": file.upload}
        case PathShape():
            path = Path(file.path).expanduser()
            return {"path": str((path if path.is_absolute() else folder / path).absolute())}
