"""The rules, one module for each family of pitfalls; each rule has a failing and a passing example in the tests."""

from __future__ import annotations

from corral.linting.registry import Check
from corral.linting.rules import (
    addresses,
    capacity,
    card_facts,
    charts,
    comments,
    compose,
    drivers,
    gpu_requests,
    gpu_rollouts,
    gpu_selection,
    gpu_sharing,
    gpu_variables,
    k3s,
    kueue,
    kustomizations,
    language_models,
    load_balancers,
    node_labels,
    node_taints,
    power,
    priorities,
    processes,
    runtimes,
    services,
    storage,
    values_and_fields,
)

_MODULES = (
    addresses,
    load_balancers,
    capacity,
    card_facts,
    charts,
    comments,
    compose,
    drivers,
    gpu_requests,
    gpu_rollouts,
    gpu_selection,
    gpu_sharing,
    gpu_variables,
    k3s,
    kueue,
    kustomizations,
    language_models,
    node_labels,
    node_taints,
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
