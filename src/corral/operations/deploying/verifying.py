"""Verifies a layout on a cluster."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from corral.deploying.objects import LayoutObjects
from corral.errors import CorralError, Kind
from corral.operations.deploying.stepping import Objects
from corral.units import list_some
from corral.verifying.objects import OBSERVED, check_objects
from corral.verifying.values import Check, Mark


async def look_at_layout(cluster: Objects, wanted: LayoutObjects) -> tuple[Check, ...]:
    """Check a layout by its objects alone: pods, GPUs, endpoints. One snapshot; nothing is asked from inside.

    Raises: UnreachableError.
    """
    return check_objects(wanted, await cluster.observe(OBSERVED, wanted.namespaces))


_LOOK_S = 1.0


class UnverifiedError(CorralError):
    """A layout is ready, and its pods, GPUs or endpoints are not as it says."""

    code: ClassVar[str] = "deploy.unverified"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


async def wait_until_verified(cluster: Objects, wanted: LayoutObjects, *, within_s: float) -> None:
    """Wait until no check of a layout's objects is bad; what is unknown does not count. Raises: UnverifiedError."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        bad = [check for check in await look_at_layout(cluster, wanted) if check.mark is Mark.BAD]
        if not bad:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise UnverifiedError(
                f"layout {wanted.layout} is not as it should be: {list_some(map(str, bad))}", hint="run `corral verify`"
            )
        await asyncio.sleep(_LOOK_S)
