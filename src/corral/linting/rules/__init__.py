"""The rules, one module for each family of pitfalls; each rule has a failing and a passing example in the tests."""

from __future__ import annotations

from corral.linting.registry import Check
from corral.linting.rules import (
    capacity,
    card_facts,
    gpu_requests,
    gpu_rollouts,
    gpu_selection,
    gpu_sharing,
    gpu_variables,
    priorities,
    runtimes,
    services,
    values_and_fields,
)

_MODULES = (
    gpu_requests,
    gpu_rollouts,
    gpu_selection,
    gpu_sharing,
    gpu_variables,
    runtimes,
    capacity,
    priorities,
    values_and_fields,
    card_facts,
    services,
)

CHECKS: tuple[Check, ...] = tuple(
    sorted(
        (one for module in _MODULES for one in vars(module).values() if isinstance(one, Check)),
        key=lambda one: one.rule.id,
    )
)
"""All rules, by id."""
