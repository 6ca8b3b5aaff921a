"""The list of tools that a model reads, and what becomes of outputs."""

from __future__ import annotations

import json

import pytest
from mcp.types import ListToolsResult

from corral.mcp.answers import ToolAnswer
from corral.mcp.installed import SdkMissingError, require_sdk
from corral.mcp.serving import list_described

MOST_TOKENS = 3_000
BYTES_PER_TOKEN = 3
"""Fewer than tokenizers take of English text (about 4): JSON has more tokens for its bytes."""


def test_the_list_of_tools_is_under_three_thousand_tokens() -> None:
    listed = ListToolsResult(tools=list_described()).model_dump(mode="json", by_alias=True, exclude_none=True)

    assert len(listed["tools"]) == 11
    assert len(json.dumps(listed, separators=(",", ":"))) / BYTES_PER_TOKEN < MOST_TOKENS


def test_hints_say_which_tools_change_or_end_something() -> None:
    hints = {tool.name: tool.annotations for tool in list_described()}

    assert {name for name, hint in hints.items() if hint and not hint.read_only_hint} == {"submit", "cancel", "retry"}
    assert {name for name, hint in hints.items() if hint and hint.destructive_hint} == {"cancel"}
    assert all(hint and hint.idempotent_hint for hint in hints.values())


def test_missing_packages_are_named_with_what_installs_them() -> None:
    require_sdk()

    with pytest.raises(SdkMissingError, match="module no_such_package") as caught:
        require_sdk(["mcp", "no_such_package"])
    assert "corral[mcp]" in str(caught.value.hint)


def test_empty_members_are_left_out_and_false_and_zero_stay() -> None:
    value = {"a": None, "b": [], "c": {"d": None}, "e": 0, "f": False, "g": "", "h": [{"i": None, "j": 1}]}

    assert json.loads(ToolAnswer(value=value).write()) == {"e": 0, "f": False, "h": [{"j": 1}]}
