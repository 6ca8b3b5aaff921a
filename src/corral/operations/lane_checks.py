"""Whether servers do as many requests at once as the cluster file says, where they say it nowhere themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from corral.cluster.values import Cluster
from corral.engines.building import build_remote
from corral.engines.credentials import name_credentials
from corral.engines.servers.directory import Directory
from corral.telemetry.doctor import Finding, State
from corral.work import EngineError, MeasuresOverlap

LONGEST_S = 60.0
"""Of one server's check: two short answers, twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanesAsked:
    """A slot whose server is checked."""

    slot: str
    engine: str
    instance: str
    lanes: int
    """As they count now."""
    is_busy: bool = False
    """Whether something works there: the check would wait behind it, and prove nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanesChecked:
    """The findings, one for each server that has several lanes and does not say so itself."""

    items: tuple[Finding, ...]


async def check_lanes(cluster: Cluster, directory: Directory, slots: Sequence[LanesAsked]) -> LanesChecked:
    """Send two requests at once to each such server that is free and has a model in memory; nothing is loaded."""
    findings = await asyncio.gather(*(_check(cluster, directory, slot) for slot in slots if slot.lanes > 1))
    return LanesChecked(items=tuple(finding for finding in findings if finding is not None))


async def _check(cluster: Cluster, directory: Directory, slot: LanesAsked) -> Finding | None:
    settings = cluster.engines[slot.engine]
    instance = next((instance for instance in settings.instances if instance.name == slot.instance), None)
    url = None if instance is None else directory.find_url(slot.engine, instance)
    if instance is None or url is None:
        return None
    engine = build_remote(slot.engine, url=url, options=settings.options, credentials=name_credentials(instance))
    try:
        if not isinstance(engine, MeasuresOverlap):
            return None
        if slot.is_busy:
            return _leave_open(slot, "its server works now", "run `corral doctor` again while it is free")
        async with asyncio.timeout(LONGEST_S):
            return judge_overlap(slot, await engine.overlaps(), engine.explain_lanes(slot.lanes))
    except TimeoutError:
        return _leave_open(slot, f"no two answers came within {LONGEST_S:g} s", "run `corral doctor` again later")
    except EngineError as error:
        return _leave_open(slot, error.what, error.hint)
    finally:
        await engine.close()


def judge_overlap(slot: LanesAsked, overlaps: bool | None, remedy: str) -> Finding:
    """Return what two requests at once have shown; pure."""
    if overlaps is None:
        load = f"load one with `corral models load MODEL --on {slot.instance}`, and run `corral doctor` again"
        return _leave_open(slot, "its server has no model in memory that writes", load)
    if overlaps:
        what = f"{slot.lanes} lanes; its server answers two requests at once"
        return Finding(name=f"lanes {slot.slot}", state=State.OK, what=what)
    what = f"{slot.lanes} lanes, and its server began the second of two answers only after the first had ended"
    return Finding(name=f"lanes {slot.slot}", state=State.WARNING, what=what, fix=f"{remedy}, or write `lanes: 1`")


def _leave_open(slot: LanesAsked, why: str, fix: str | None) -> Finding:
    what = f"{slot.lanes} lanes, which could not be checked: {why}"
    return Finding(name=f"lanes {slot.slot}", state=State.UNKNOWN, what=what, fix=fix)
