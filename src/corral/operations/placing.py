"""Places of services for rendering: the plan's, so that what is rendered is what was planned."""

from __future__ import annotations

from collections.abc import Sequence

from corral.cluster.values import Cluster, Layout
from corral.hardware.needs import needs_of
from corral.planning.placement.planner import plan_layout
from corral.planning.placement.values import Plan, Refusal
from corral.rendering.places import Place, Places

_REASONS = 3


def find_places(cluster: Cluster, layout: Layout | None) -> Places:
    """Plan a layout, and return the places of its services."""
    return make_places(plan_layout(cluster, layout, needs_of(cluster, layout)))


def make_places(plan: Plan) -> Places:
    """Make the places of a plan."""
    return Places(
        by_replica={
            (service, placed.replica): Place(node=placed.node, gpus=placed.gpus)
            for placed in plan.placed
            for service in placed.services
        },
        refused={
            (service, replica.replica): _join_reasons(replica.refusals)
            for replica in plan.missing
            for service in replica.services
        },
        groups={service: placed.demand for placed in plan.placed for service in placed.services},
    )


def _join_reasons(refusals: Sequence[Refusal]) -> str:
    reasons: dict[str, list[str]] = {}
    for refusal in refusals:
        reasons.setdefault(refusal.reason, []).append(refusal.gpu_or_node)
    listed = [f"{', '.join(places)}: {reason}" for reason, places in reasons.items()]
    more = f"; {len(listed) - _REASONS} more reasons" if len(listed) > _REASONS else ""
    return ("; ".join(listed[:_REASONS]) or "the cluster has no node") + more
