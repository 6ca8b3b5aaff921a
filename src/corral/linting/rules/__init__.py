"""The rules, one module for each family of pitfalls; each rule has a failing and a passing example in the tests."""

from __future__ import annotations

from corral.linting.registry import Check
from corral.linting.rules import (
    compose,
    gpu_models,
    gpu_requests,
    gpu_selection,
    k3s,
    kueue,
    kustomizations,
    language_models,
    node_labels,
    power,
    priorities,
    processes,
    runtimes,
    services,
    storage,
    values_and_fields,
)

_MODULES = (
    compose,
    gpu_models,
    gpu_requests,
    gpu_selection,
    k3s,
    kueue,
    kustomizations,
    language_models,
    node_labels,
    power,
    priorities,
    processes,
    runtimes,
    services,
    storage,
    values_and_fields,
)

CHECKS: tuple[Check, ...] = tuple(
    sorted(
        (one for module in _MODULES for one in vars(module).values() if isinstance(one, Check)),
        key=lambda one: one.rule.id,
    )
)
"""All rules, by id."""
