"""Verifies a layout on a cluster."""

from __future__ import annotations

from corral.deploying.objects import LayoutObjects
from corral.operations.deploying.stepping import Objects
from corral.verifying.objects import OBSERVED, check_objects
from corral.verifying.values import Check


async def look_at_layout(cluster: Objects, wanted: LayoutObjects) -> tuple[Check, ...]:
    """Check a layout by its objects alone: pods, GPUs, endpoints. One snapshot; nothing is asked from inside.

    Raises: UnreachableError.
    """
    return check_objects(wanted, await cluster.observe(OBSERVED, wanted.namespaces))
