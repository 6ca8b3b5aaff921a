"""Waits until workloads that were applied are ready, and reports what is not yet, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from corral.deploying.health import OBSERVED
from corral.deploying.order import DEPLOYMENT, STATEFUL_SET
from corral.deploying.readiness import Unready, list_unready
from corral.errors import CorralError, Kind, Problem
from corral.operations.deploying.stepping import Objects
from corral.snapshot import Kind as ObjectKind
from corral.units import format_duration
from corral.work import Json

_LOOK_S = 1.0

ReportUnready = Callable[[Sequence[Unready]], None]
"""Called with the workloads that are not ready when they, or their causes, have changed."""


class NotReadyError(CorralError):
    """Workloads were applied and are not ready in time."""

    code: ClassVar[str] = "deploy.not_ready"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE

    def __init__(self, unready: Sequence[Unready], within_s: float, expected_s: float) -> None:
        self.unready = tuple(unready)
        self.within_s = within_s
        super().__init__(
            describe_unready(unready, within_s, expected_s),
            hint="see `corral status` and `corral doctor --kubernetes`; `--within` gives more time",
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """A problem for each workload."""
        after = format_duration(self.within_s)
        return tuple(
            Problem(
                code=self.code,
                what=f"{unready.workload.partition('/')[2]} is not ready after {after}: "
                + ("; ".join(unready.causes) or f"{unready.ready} of {unready.wanted} are ready"),
                where=unready.workload,
                hint=self.hint,
            )
            for unready in self.unready
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Workloads that are ready."""

    after_s: float
    """Seconds since they were applied."""


def describe_unready(unready: Sequence[Unready], within_s: float, expected_s: float) -> str:
    """Describe what is not ready in one line: `backend not ready after 4 min (forecast 1 min 20 s): ...`."""
    names = ", ".join(workload.workload.partition("/")[2] for workload in unready)
    expected = f" (forecast {format_duration(expected_s)})" if expected_s else ""
    causes = "; ".join(dict.fromkeys(cause for workload in unready for cause in workload.causes))
    return f"{names} not ready after {format_duration(within_s)}{expected}{f': {causes}' if causes else ''}"


async def wait_until_ready(
    cluster: Objects,
    objects: Iterable[Json],
    *,
    within_s: float,
    expected_s: float = 0.0,
    report: ReportUnready = lambda _: None,
) -> Ready:
    """Wait until all Deployments and StatefulSets among objects are ready as they are applied now.

    Raises: NotReadyError; UnreachableError.
    """
    workloads = [value for value in objects if ObjectKind.read(value) in (DEPLOYMENT, STATEFUL_SET)]
    namespaces = sorted({value["metadata"]["namespace"] for value in workloads})
    loop = asyncio.get_running_loop()
    begun = loop.time()
    reported: tuple[Unready, ...] = ()
    while workloads:
        unready = list_unready(workloads, await cluster.observe(OBSERVED, namespaces))
        if not unready:
            break
        if loop.time() - begun >= within_s:
            raise NotReadyError(unready, within_s, expected_s)
        if unready != reported:
            report(unready)
            reported = unready
        await asyncio.sleep(_LOOK_S)
    return Ready(after_s=loop.time() - begun)
