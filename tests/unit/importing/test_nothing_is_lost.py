"""No field of an input disappears: a field that is added anywhere is in the report, or changes the cluster file."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, cast

import pytest
import yaml

from doubles.imports import CASES, gaps_of, import_texts

_ADDED = "addedByTheTest"
_STATES = ("status",)
"""Of a Node, its state is read for what a cluster file says; the rest of it is not what people wrote."""


def list_mappings(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List the path of every mapping whose keys are fields, not names that people choose."""
    if isinstance(value, dict):
        if path[-1:] not in (("labels",), ("matchLabels",), ("selector",), ("data",), ("environment",), ("services",)):
            yield path
        for key, inner in cast(dict[str, Any], value).items():
            if key not in _STATES:
                yield from list_mappings(inner, (*path, key))
    if isinstance(value, list):
        for number, inner in enumerate(cast(list[Any], value)):
            yield from list_mappings(inner, (*path, number))


def add_field(documents: list[Any], path: tuple[Any, ...]) -> list[Any]:
    """Copy documents with one more field in the mapping at a path."""
    changed = copy.deepcopy(documents)
    holder: Any = changed
    for part in path:
        holder = holder[part]
    holder[_ADDED] = "here"
    return changed


@pytest.mark.parametrize("case", ["pods/edge.yaml", "compose/compose.yaml"])
def test_a_field_that_is_added_anywhere_is_reported(case: str) -> None:
    documents = list(yaml.safe_load_all((CASES / case).read_text(encoding="utf-8")))
    before = import_texts({"input.yaml": yaml.safe_dump_all(documents)})

    lost = []
    for path in list_mappings(documents):
        if not path:
            continue
        answer = import_texts({"input.yaml": yaml.safe_dump_all(add_field(documents, path))})
        is_reported = any(_ADDED in gap for gap in gaps_of(answer)) or len(answer.gaps) > len(before.gaps)
        is_in_a_part_that_is_listed = _is_in_a_listed_part(documents, path)
        if not is_reported and answer.text == before.text and not is_in_a_part_that_is_listed:
            lost.append(path)

    assert lost == [], lost


def _is_in_a_listed_part(documents: list[Any], path: tuple[Any, ...]) -> bool:
    """Whether a whole branch or object that has the field is a gap already."""
    document = documents[path[0]]
    holders: list[Any] = [document]
    for part in path[1:]:
        holders.append(holders[-1][part])
    is_unknown_variable = any(cast(Any, holder).get("name") == "POD" for holder in holders if isinstance(holder, dict))
    return document.get("kind") == "DaemonSet" or "build" in path or is_unknown_variable
