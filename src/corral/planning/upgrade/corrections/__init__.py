"""Common beliefs that are wrong, each told only where the cluster or the upgrade is such that it would do harm.

The ids are those of the catalogue of pitfalls. What is said to be true was reproduced on a control plane, read in the
source of the program, or is in the GPU catalogue; `source` says which.
"""

from __future__ import annotations

from collections.abc import Callable

from corral.planning.upgrade.corrections.cards import DATA_PARALLEL, POWER_LIMIT, SINGLE_POINT, capability, split_model
from corral.planning.upgrade.corrections.kubernetes import (
    ANTI_AFFINITY,
    DEVICE_INDEX,
    LOAD_BALANCER,
    NODE_SELECTOR,
    ROLLOUT,
)
from corral.planning.upgrade.corrections.node_labels import STALE_LABEL, key_given_twice, value_with_comma
from corral.planning.upgrade.corrections.values import Correction, Situation

__all__ = ["Correction", "Situation", "find_corrections"]

_RULES: tuple[Callable[[Situation], Correction | None], ...] = (
    capability,
    STALE_LABEL.corrected,
    key_given_twice,
    value_with_comma,
    NODE_SELECTOR.corrected,
    DEVICE_INDEX.corrected,
    ANTI_AFFINITY.corrected,
    LOAD_BALANCER.corrected,
    ROLLOUT.corrected,
    DATA_PARALLEL.corrected,
    split_model,
    SINGLE_POINT.corrected,
    POWER_LIMIT.corrected,
)
"""In the order in which a report tells them."""


def find_corrections(situation: Situation) -> tuple[Correction, ...]:
    """List the corrections that the situation calls for, each once."""
    found = (rule(situation) for rule in _RULES)
    return tuple(one for one in found if one is not None)
