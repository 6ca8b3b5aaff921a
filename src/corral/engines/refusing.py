"""The inputs of a task, read by an engine that is reached by URL: refused with all problems at once."""

from __future__ import annotations

from collections.abc import Mapping

from corral.engines.http.errors import RequestRefusedError
from corral.engines.inputs import ModelT, read_inputs
from corral.errors import ProblemsError
from corral.work import Json


def read_request(model: type[ModelT], engine: str, inputs: Mapping[str, Json]) -> ModelT:
    """Return checked inputs with defaults filled in. Raises: RequestRefusedError."""
    try:
        return read_inputs(model, engine, inputs)
    except ProblemsError as error:
        raise RequestRefusedError(error.what, where=error.where, hint=error.hint, problems=error.problems) from error
