"""The JSON Schema helps an editor: it is valid, explains every key, and marks what the loader would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from corral.cluster.schema import DIALECT, make_json_schema

SMALLEST: dict[str, Any] = {"apiVersion": "corral/v1", "name": "x", "nodes": [{"name": "a"}]}


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for owner in [schema, *schema["$defs"].values()]:
        for name, value in owner.get("properties", {}).items():
            yield f"{owner['title']}.{name}", value


def test_the_schema_is_a_valid_schema_of_the_named_dialect() -> None:
    schema = make_json_schema()
    assert schema["$schema"] == DIALECT
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_key_is_described() -> None:
    assert [name for name, value in properties(make_json_schema()) if not value.get("description")] == []


def test_no_internal_word_reaches_the_titles() -> None:
    assert [name for name, _ in properties(make_json_schema()) if "Shape" in name] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"nods": []},
        {"apiVersion": "corral/v2"},
        {"nodes": []},
        {"nodes": [{"name": "a", "labels": {"x": 32}}]},
        {"nodes": [{"name": "a", "k3sRole": "master"}]},
        {"engines": {"lama": {}}},
        {"services": [{"name": "s", "engines": ["olama"]}]},
        {"services": [{"name": "s", "port": 65536}]},
        {"queues": [{"name": "q", "order": "lifo"}]},
        {"retention": {"tasks": "soon"}},
        {"database": {"urlFrom": "postgres://h/d"}},
    ],
)
def test_an_editor_marks_what_the_loader_refuses(wrong: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(make_json_schema())
    validator.validate(SMALLEST)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**SMALLEST, **wrong})
