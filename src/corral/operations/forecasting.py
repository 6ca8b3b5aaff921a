"""Forecasts the workloads of a cluster file, as it is and with what may go wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import ClassVar

from corral.cluster.errors import did_you_mean
from corral.cluster.values import Cluster, Workload
from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.operations.planning import plan_file
from corral.planning.forecast import Forecast, Scenario, forecast
from corral.planning.forecast.batches import BatchForecast
from corral.planning.forecast.drawing import draw_run
from corral.planning.forecast.page import page
from corral.planning.forecast.seats import gpu_slots
from corral.scheduling.durations import History
from corral.scheduling.simulator.values import Outage
from corral.units import UnitError, parse_duration
from corral.work import SlotId

_SLOW = re.compile(r"(?P<slot>[^=]+)=(?P<factor>[0-9.]+)")


class ForecastAskedError(ProblemsError):
    """A forecast cannot be made as it was asked for; `problems` has every reason."""

    code: ClassVar[str] = "forecast.asked"
    kind: ClassVar[Kind] = Kind.INVALID


class UnknownWorkloadError(CorralError):
    """The cluster file has no workload of this name."""

    code: ClassVar[str] = "forecast.unknown_workload"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user wants to know, as it was typed."""

    workload: str | None = None
    night: str | None = None
    """None is the night of the cluster file."""
    nights: int = 1
    models: int = 1
    swap_every: int = 1
    load: str | None = None
    spread: str | None = None
    """`20%`: durations lie up to so much above and below the usual one."""
    slow: Sequence[str] = ()
    """`<slot>=<factor>`: tasks take that many times as long there."""
    fail: Sequence[str] = ()
    """`<slot>@<from>..<until>`, or `<slot>@<from>` for a slot that does not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """The workloads of a cluster in the order of its file; `changed` in the same order, when a scenario was asked."""

    cluster: str
    plain: tuple[Forecast, ...]
    changed: tuple[Forecast, ...] = ()


def forecast_file(path: Path | None, asked: Asked, *, history: History | None = None) -> Forecasts:
    """Forecast one workload of a cluster file, or each.

    Raises: UnreadableClusterFileError, ClusterFileError, UnknownWorkloadError, ForecastAskedError with every problem.
    """
    planned = plan_file(path)
    cluster, where = planned.file.cluster, planned.file.name
    workloads = _chosen(cluster, asked.workload, where)
    night_s, scenario = _understood(cluster, asked)

    def played(workload: Workload, scenario: Scenario) -> Forecast:
        return forecast(
            cluster,
            workload,
            planned.plans,
            scenario=scenario,
            history=history,
            night_s=night_s,
            nights=asked.nights,
        )

    return Forecasts(
        cluster=cluster.name,
        plain=tuple(played(each, Scenario()) for each in workloads),
        changed=() if scenario.is_plain else tuple(played(each, scenario) for each in workloads),
    )


def _chosen(cluster: Cluster, name: str | None, where: str) -> list[Workload]:
    if name is None:
        return list(cluster.workloads.values())
    if name not in cluster.workloads:
        raise UnknownWorkloadError(
            f"the cluster file has no workload {name!r}",
            where=where,
            hint=did_you_mean(name, cluster.workloads),
        )
    return [cluster.workloads[name]]


def _understood(cluster: Cluster, asked: Asked) -> tuple[float | None, Scenario]:
    """Read what was typed. Raises: ForecastAskedError with everything that cannot be read."""
    problems: list[Problem] = []
    known = [slot.id for slot in gpu_slots(cluster, frozenset())]
    night_s = _seconds(asked.night, "--night", problems)
    load_s = _seconds(asked.load, "--load", problems)
    if night_s == 0:
        problems.append(_problem("a night of no length has nothing to forecast", "--night", "give it hours, as 8h"))
    slowdown = dict(_slow_slots(asked.slow, known, problems))
    outages = tuple(_failures(asked.fail, known, problems))
    spread = _share(asked.spread, problems)
    if problems:
        raise ForecastAskedError(problems)
    scenario = Scenario(
        slowdown=slowdown,
        outages=outages,
        models=asked.models,
        swap_every=asked.swap_every if asked.models > 1 else 1,
        load_s=load_s,
        spread=spread,
    )
    return night_s, scenario


def _share(text: str | None, problems: list[Problem]) -> float:
    if text is None:
        return 0.0
    percent = _number(text.strip().removesuffix("%"))
    if percent is None or not 0 <= percent < 100:
        problems.append(_problem(f"not a share from 0 to 100 %: {text!r}", "--spread", "write it as 20%"))
        return 0.0
    return percent / 100


def _slow_slots(
    texts: Iterable[str], known: Sequence[SlotId], problems: list[Problem]
) -> Iterator[tuple[SlotId, float]]:
    for text in texts:
        found = _SLOW.fullmatch(text)
        factor = _number(found["factor"]) if found else None
        if found is None or not factor:
            problems.append(_problem(f"not a slot and a factor: {text!r}", "--slow", "write it as node/gpu1=1.5"))
        elif _is_known(found["slot"], known, "--slow", problems):
            yield SlotId(found["slot"]), factor


def _failures(texts: Iterable[str], known: Sequence[SlotId], problems: list[Problem]) -> Iterator[Outage]:
    for text in texts:
        slot, at, span = text.partition("@")
        begin, dots, end = span.partition("..")
        if not (slot and at and begin) or (dots and not end):
            problems.append(_problem(f"not a slot and a time: {text!r}", "--fail", "write it as node/gpu1@2h..4h"))
            continue
        from_s = _seconds(begin, "--fail", problems)
        until_s = _seconds(end, "--fail", problems) if end else inf
        if not _is_known(slot, known, "--fail", problems) or from_s is None or until_s is None:
            continue
        if from_s >= until_s:
            problems.append(_problem(f"it ends before it begins: {text!r}", "--fail", "give the earlier time first"))
            continue
        yield Outage(slot=SlotId(slot), from_s=from_s, until_s=until_s)


def _is_known(slot: str, known: Sequence[SlotId], option: str, problems: list[Problem]) -> bool:
    if slot in known:
        return True
    problems.append(_problem(f"the cluster file has no GPU {slot!r}", option, did_you_mean(slot, known)))
    return False


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _seconds(text: str | None, option: str, problems: list[Problem]) -> float | None:
    if text is None:
        return None
    try:
        found: timedelta = parse_duration(text)
    except UnitError as error:
        problems.append(_problem(error.what, option, error.hint or "write it as 8h"))
        return None
    return found.total_seconds()


def _problem(what: str, where: str, hint: str) -> Problem:
    return Problem(code=ForecastAskedError.code, what=what, where=where, hint=hint)


# --- files -----------------------------------------------------------------------------------------------------------


class NothingToDrawError(CorralError):
    """No workload of the forecast could be played."""

    code: ClassVar[str] = "forecast.nothing_to_draw"
    kind: ClassVar[Kind] = Kind.INVALID


class UnwritableForecastError(CorralError):
    """A file that was asked for cannot be written."""

    code: ClassVar[str] = "forecast.unwritable"
    kind: ClassVar[Kind] = Kind.INVALID


def write_gantt(found: Forecasts, path: Path) -> None:
    """Draw the night of the first workload that could be played, as it was asked.

    Raises: NothingToDrawError, UnwritableForecastError.
    """
    for one in found.changed or found.plain:
        if one.trace is not None and one.run is not None and one.outcome is not None:
            title = f"A night of {one.workload} on {found.cluster}"
            _write(path, draw_run(one.trace, one.run, title=title, span_s=one.outcome.span_s))
            return
    raise NothingToDrawError(
        f"no workload of {found.cluster} can be played, so there is nothing to draw",
        hint="give a workload a `duration` in the cluster file",
    )


def write_batch(found: BatchForecast, name: str, path: Path) -> None:
    """Draw a batch from its first start to its end. Raises: NothingToDrawError, UnwritableForecastError."""
    if found.trace is None or found.run is None or found.makespan is None:
        raise NothingToDrawError(f"batch {name} cannot be played: {'; '.join(found.unknown)}")
    _write(path, draw_run(found.trace, found.run, title=f"Batch {name}", span_s=found.makespan.value))


def write_page(found: Forecasts, asked: Asked, path: Path) -> None:
    """Write the forecast as one HTML page. Raises: UnwritableForecastError."""
    _write(path, page(found.cluster, found.plain, found.changed, in_words(asked)))


def in_words(asked: Asked) -> str:
    """Say what was asked to be different, as it was typed."""
    models = [f"{asked.models} models, the next after {asked.swap_every} tasks"] if asked.models > 1 else []
    load = [f"loading takes {asked.load}"] if asked.load else []
    spread = [f"durations up to {asked.spread} above and below"] if asked.spread else []
    return ", ".join(
        [*models, *load, *spread, *(f"slow {each}" for each in asked.slow), *(f"away {each}" for each in asked.fail)]
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnwritableForecastError(
            f"cannot write the file: {error.strerror or error}", where=str(path), hint="choose a folder that is there"
        ) from error
