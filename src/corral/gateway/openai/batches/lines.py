"""Lines of a batch's file, each a request with a `custom_id`; and lines of its output and error files.

A line that has no `custom_id` of its own cannot be answered, so the file as a whole is refused, as OpenAI does. Any
other line that cannot be done is refused alone: it is in the error file, and the others are done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic_core import from_json

from corral.errors import CorralError, Kind
from corral.gateway.openai.shape import OpenAiShape
from corral.narrowing import as_object
from corral.work import Json

MAX_LINES = 50_000
"""Requests of one batch, as OpenAI has it."""
LARGEST_LINE = 2 * 2**20
"""Bytes of one request; the inputs of a task have 1 MiB at most."""
LONGEST_ID = 512
"""Characters of a `custom_id`."""


@dataclass(frozen=True, slots=True)
class Line:
    """A request that can be answered by its id, whatever else is wrong with it."""

    number: int
    """Of the requests in the file, from 1."""
    custom_id: str
    fields: Mapping[str, Json]

    @property
    def body(self) -> dict[str, Json]:
        """The request's body; empty where it is not an object."""
        return as_object(self.fields.get("body"))


class BatchFileError(CorralError):
    """A line makes the whole file unusable."""

    code: ClassVar[str] = "batch.file"
    kind: ClassVar[Kind] = Kind.INVALID

    def __init__(self, what: str, *, reason: str, line: int | None = None) -> None:
        """`reason` is OpenAI's word for it, `line` counts from 1."""
        super().__init__(what, where=None if line is None else f"line {line}")
        self.reason = reason
        self.line = line

    def describe(self) -> dict[str, Json]:
        """Return it as an entry of the batch's `errors`."""
        return {"code": self.reason, "message": self.what, "param": None, "line": self.line}


class LineError(CorralError):
    """A line cannot be done; the others can."""

    code: ClassVar[str] = "batch.line"
    kind: ClassVar[Kind] = Kind.INVALID


def read_line(number: int, content: bytes) -> Line:
    """Read one line of a batch's file. Raises: BatchFileError."""
    try:
        fields: Json = from_json(content)
    except ValueError as error:
        raise BatchFileError(f"the line is not JSON: {error}", reason="invalid_json_line", line=number) from error
    custom_id = as_object(fields).get("custom_id")
    if not isinstance(custom_id, str) or not custom_id or len(custom_id) > LONGEST_ID:
        what = f"`custom_id` is not text of 1 to {LONGEST_ID} characters"
        raise BatchFileError(what, reason="missing_required_parameter", line=number)
    return Line(number, custom_id, as_object(fields))


def check_line(line: Line, endpoint: str) -> str:
    """Return the model that a line asks for. Raises: LineError."""
    method, url, body = (line.fields.get(name) for name in ("method", "url", "body"))
    if method != "POST":
        raise LineError(f"`method` is {method!r}, not 'POST'", where="method")
    if url != endpoint:
        raise LineError(f"`url` is {url!r}, and the batch is for {endpoint!r}", where="url")
    if not isinstance(body, dict):
        raise LineError("`body` is not an object", where="body")
    model = line.body.get("model")
    if not isinstance(model, str) or not model:
        raise LineError("`model` is missing", where="model", hint="name one that `GET /v1/models` lists")
    return model


def write_answer_line(id: str, custom_id: str, body: Mapping[str, Json]) -> bytes:
    """Return a line of the output file; `id` names the task."""
    return _write(id, custom_id, response={"status_code": 200, "request_id": id, "body": dict(body)})


def write_refusal_line(id: str, custom_id: str, error: CorralError) -> bytes:
    """Return a line of the error file for a request that was answered with an error."""
    status, body = OpenAiShape().write_error(error)
    return _write(id, custom_id, response={"status_code": status, "request_id": id, "body": from_json(body)})


def write_failure_line(id: str, custom_id: str, *, code: str, message: str) -> bytes:
    """Return a line of the error file for a request whose task has failed."""
    error = {"message": message, "type": "server_error", "param": None, "code": code}
    return _write(id, custom_id, response={"status_code": 500, "request_id": id, "body": {"error": error}})


def write_undone_line(id: str, custom_id: str, *, code: str, message: str) -> bytes:
    """Return a line of the error file for a request that was not done at all."""
    return _write(id, custom_id, error={"code": code, "message": message})


def _write(id: str, custom_id: str, *, response: Json = None, error: Json = None) -> bytes:
    line = {"id": f"batch_req_{id}", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"
