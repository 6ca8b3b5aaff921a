"""The rules, one module for each family of pitfalls; each rule has a failing and a passing example in the tests."""

from __future__ import annotations

from corral.linting.registry import Check
from corral.linting.rules import gpu_rollouts, gpu_selection

_MODULES = (gpu_selection, gpu_rollouts)

CHECKS: tuple[Check, ...] = tuple(
    sorted(
        (one for module in _MODULES for one in vars(module).values() if isinstance(one, Check)),
        key=lambda one: one.rule.id,
    )
)
"""All rules, by id."""
