"""The rules, one module for each family of pitfalls; each rule has a failing and a passing example in the tests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from corral.linting.registry import Check
from corral.linting.rules import (
    compose,
    compose_network,
    doors,
    gpu_access,
    gpu_models,
    gpu_requests,
    gpu_selection,
    images,
    k3s,
    kustomizations,
    language_models,
    nixos,
    node_labels,
    other_hardware,
    power,
    processes,
    queueing,
    services,
    serving,
    storage,
    values_and_fields,
)

_MODULES = (
    compose,
    compose_network,
    doors,
    gpu_access,
    gpu_models,
    gpu_requests,
    gpu_selection,
    images,
    k3s,
    queueing,
    kustomizations,
    language_models,
    nixos,
    node_labels,
    other_hardware,
    power,
    processes,
    services,
    serving,
    storage,
    values_and_fields,
)

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "A": "GPU requests, scheduling, rollouts",
        "B": "Processes, probes, VRAM",
        "C": "Power",
        "D": "Services and networking",
        "E": "Storage",
        "F": "K3s and NixOS",
        "G": "Kustomize, policies, Compose",
        "H": "Kueue",
    }
)
"""The subjects of the rules, by the letter of their ids."""

CHECKS: tuple[Check, ...] = tuple(
    sorted(
        (check for module in _MODULES for check in vars(module).values() if isinstance(check, Check)),
        key=lambda check: check.rule.id,
    )
)
"""The checks of all rules, in the order of ids."""
