"""The columns that keep what users set of a task or a batch, made from the one description in `corral.requests`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any

from corral.requests import Fields
from corral.tasks.store.pool import Row


def list_columns(kind: type[Fields]) -> tuple[str, ...]:
    """Return the columns that keep the fields of `kind`, in their order; each has the name that answers use."""
    return tuple(info.alias or name for name, info in kind.model_fields.items())


def get_column_values(fields: Fields, kind: type[Fields]) -> tuple[Any, ...]:  # what the columns hold
    """Return what those columns keep of the fields; enums are text or numbers already."""
    return tuple(getattr(fields, name) for name in kind.model_fields)


def read_fields(row: Row, kind: type[Fields]) -> dict[str, Any]:  # as above
    """Return the fields of `kind` from a row, by name; what is stored is not checked again."""
    return {name: read(row[column]) for name, (column, read) in _find_readers(kind).items()}


@cache
def _find_readers(kind: type[Fields]) -> Mapping[str, tuple[str, Callable[[Any], Any]]]:  # as above
    return {
        name: (column, _find_reader(info.annotation))
        for column, (name, info) in zip(list_columns(kind), kind.model_fields.items(), strict=True)
    }


def _find_reader(annotation: object) -> Callable[[Any], Any]:  # as above
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return annotation
    return lambda value: value
