"""Validation of a file's shape, with pydantic's errors worded and placed as those of the cluster file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from corral.cluster import explain
from corral.cluster.document import Document, YamlPath
from corral.cluster.machine_shapes import Shape
from corral.errors import Problem, did_you_mean

ShapeT = TypeVar("ShapeT", bound=Shape)
FindShape = Callable[[YamlPath], type[Shape]]
"""Returns the shape of the mapping at a path."""


def validate_shape(
    document: Document, shape: type[ShapeT], find_shape: FindShape, forms: Collection[str] = ()
) -> ShapeT | None:
    """Validate a file's shape; None with problems reported when it does not fit.

    `forms` are steps that pydantic adds to a path for the members of a union; they are not in the file.
    """
    try:
        return shape.model_validate(document.value)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            _report(details, document, find_shape, forms)
        return None


def _report(error: ErrorDetails, document: Document, find_shape: FindShape, forms: Collection[str]) -> None:
    """Report one of pydantic's errors; keys are the file's, values are explained as the cluster file's are."""
    at = tuple(part for part in error["loc"] if part not in forms)
    known = explain.list_keys(find_shape(at[:-1]))
    match error["type"]:
        case "extra_forbidden":
            hint = did_you_mean(str(at[-1]), known)
            document.report_key("cluster.unknown_key", f"unknown key `{str(at[-1])[:60]}`", at=at, hint=hint)
        case "missing":
            document.report("cluster.missing_key", f"`{at[-1]}` is missing", at=at[:-1], hint=f"add `{at[-1]}`")
        case "too_short" if len(error["input"]) > 0:
            return  # pydantic counts the entries that are right; what is wrong with the others is reported already
        case _:
            explain.report({**error, "loc": at}, document)


def recode(problem: Problem, prefix: str) -> Problem:
    """Give a problem of the shared YAML reader the code of another file: `batchfile.`."""
    return dataclasses.replace(problem, code=problem.code.replace("cluster.", prefix, 1))
