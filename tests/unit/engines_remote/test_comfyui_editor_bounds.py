"""Workflows that are made to be slow or large are refused, or converted, in bounded time."""

from __future__ import annotations

import pytest

from corral.engines.comfyui.editor.conversion import convert
from corral.engines.comfyui.editor.graph import MAX_SLOTS
from corral.engines.comfyui.errors import WorkflowInvalidError
from doubles.comfyui_editor import DESCRIBED, a_node, a_workflow

CHAIN, CONSUMERS = 2000, 2000


def test_a_long_chain_of_reroutes_with_many_ends_is_given_up_after_its_first_steps() -> None:
    nodes = [a_node(number, "Reroute", inputs=[("", "*", number)], outputs=["*"]) for number in range(1, CHAIN)]
    nodes += [
        a_node(CHAIN + number, "SaveImage", ["x"], inputs=[("images", "IMAGE", CHAIN)]) for number in range(CONSUMERS)
    ]
    links = [(number, number - 1, 0, number, 0, "*") for number in range(1, CHAIN + 1)]

    with pytest.raises(WorkflowInvalidError) as caught:
        convert(a_workflow(nodes, links), DESCRIBED)

    assert len(caught.value.problems) == CONSUMERS
    assert "over more than 500 steps" in caught.value.problems[0].what


def test_a_node_with_thousands_of_inputs_is_refused() -> None:
    wide = a_node(1, "SaveImage", inputs=[(f"i{number}", "IMAGE", None) for number in range(MAX_SLOTS + 1)])

    with pytest.raises(WorkflowInvalidError, match=f"more than {MAX_SLOTS} inputs"):
        convert(a_workflow([wide], []), DESCRIBED)
