"""One room talks to a cluster: import contracts hold its clients, this holds kubectl, which is a program."""

from __future__ import annotations

import ast

from architecture import house

WRITES_LINES = "planning"
"""Writes commands for people; the contract on what decides keeps programs from it."""


def test_kubectl_is_run_in_the_room_of_kubernetes_alone() -> None:
    running = {
        module.package
        for module in house.read_modules()
        for node in module.nodes
        if isinstance(node, ast.Tuple | ast.List) and node.elts
        if isinstance(first := node.elts[0], ast.Constant) and first.value == "kubectl"
    }
    assert running - {WRITES_LINES} == {"kubernetes"}
