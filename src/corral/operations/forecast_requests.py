"""Requests for forecasts, as people type them, and what they mean; everything wrong is reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from corral.cluster.values import Cluster, Workload
from corral.errors import CorralError, Kind, Problem, ProblemsError, did_you_mean
from corral.operations.cluster_file import FileText
from corral.planning.forecast import Scenario
from corral.planning.forecast.workload_slots import list_gpu_slots
from corral.requests import By
from corral.scheduling.simulator.values import Outage
from corral.units import UnitError, parse_duration
from corral.work import SlotId

_MOST_FACTOR = 1000
"""Times as long as usual: beyond, a slot does nothing in any night."""
_SLOW = re.compile(r"(?P<slot>[^=]+)=(?P<factor>[0-9.]+)")


class ForecastAskedError(ProblemsError):
    """A forecast cannot be made as it was asked for; `problems` has every reason."""

    code: ClassVar[str] = "forecast.asked"
    kind: ClassVar[Kind] = Kind.INVALID


class UnknownWorkloadError(CorralError):
    """The cluster file has no workload of this name."""

    code: ClassVar[str] = "forecast.unknown_workload"
    kind: ClassVar[Kind] = Kind.MISSING


class SinceError(CorralError):
    """Neither an instant nor a duration."""

    code: ClassVar[str] = "forecast.since"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastAsked:
    """A cluster file whose workloads are forecast, and what can go wrong in the night."""

    cluster: FileText
    workload: str | None = None
    """The only workload to forecast; null forecasts each of the file."""
    night: str | None = None
    """Its length, such as `8h`; null is that of the cluster file."""
    nights: Annotated[int, Field(ge=1, le=3660)] = 1
    models: Annotated[int, Field(ge=1, le=100)] = 1
    """So many models are used in turn."""
    swap_every: Annotated[int, Field(ge=1, le=10**6)] = 1
    """With several models: the next one after so many tasks."""
    load: str | None = None
    """How long a model takes to load, such as `20s`."""
    measured: str | None = None
    """Durations are taken from what the queue has finished since then: `7d`, or an instant."""
    spread: str | None = None
    """`20%`: durations are up to so much above and below the usual one."""
    slow: tuple[str, ...] = ()
    """`<slot>=<factor>`: tasks take that many times as long there."""
    fail: tuple[str, ...] = ()
    """`<slot>@<from>..<until>`, or `<slot>@<from>` for a slot that does not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchForecastAsked:
    """A batch that is forecast before it is submitted, on a cluster that has nothing else to do."""

    cluster: FileText
    tasks: tuple[Mapping[str, JsonValue], ...]
    """As `POST /corral/v1/batches` takes them, each with its name."""
    by: By | None = None
    """When it should be done, as in a batch."""
    when: Literal["cheap"] | None = None
    """`cheap`: it waits for the hours of the lowest price of power, as far as `by` allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayAsked:
    """Tasks that the queue has finished, played once more on another cluster."""

    before: FileText
    """The cluster file of the slots that they had."""
    after: FileText
    """The other cluster file."""
    since: str
    """Tasks that were submitted since then: `12h`, or an instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """The request, in the cluster's words."""

    workloads: tuple[Workload, ...]
    night_s: float | None
    scenario: Scenario
    measured_since: datetime | None


def read_request(cluster: Cluster, asked: ForecastAsked, *, where: str) -> Understood:
    """Read what was typed. Raises: ForecastAskedError with all problems, or UnknownWorkloadError where it is alone."""
    problems: list[Problem] = []
    unknown = _check_workload(cluster, asked.workload, where)
    night_s, scenario = _read_scenario(cluster, asked, problems)
    since = _read_since(asked.measured, "--measured", problems)
    if unknown is not None and not problems:
        raise unknown
    if problems:
        raise ForecastAskedError([*(unknown.problems if unknown else ()), *problems])
    chosen = cluster.workloads if asked.workload is None else {asked.workload: cluster.workloads[asked.workload]}
    return Understood(workloads=tuple(chosen.values()), night_s=night_s, scenario=scenario, measured_since=since)


def require_no_others(alone: str, others: Mapping[str, bool]) -> None:
    """Refuse options that have no meaning with `alone`; `others` says which were given.

    Raises: ForecastAskedError with each.
    """
    problems = [
        _make_problem(f"`{option}` has no meaning with `{alone}`", option, "leave one of the two out")
        for option, is_given in others.items()
        if is_given
    ]
    if problems:
        raise ForecastAskedError(problems)


def require_both(since: str | None, against: Path | None) -> tuple[str, Path]:
    """Return what `--replay` and `--against` name. Raises: ForecastAskedError where one of them is missing."""
    problems: list[Problem] = []
    _read_since(since, "--replay", problems)
    if against is None:
        problems.append(
            _make_problem("`--replay` has nothing to compare with", "--replay", "add `--against other.yaml`")
        )
    if since is None:
        problems.append(_make_problem("`--against` has nothing to play", "--against", "add `--replay 12h`"))
    if problems or since is None or against is None:
        raise ForecastAskedError(problems)
    return since, against


def read_since(text: str) -> datetime:
    """Read what `--replay` says. Raises: ForecastAskedError."""
    problems: list[Problem] = []
    begin = _read_since(text, "--replay", problems)
    if begin is None:
        raise ForecastAskedError(problems)
    return begin


def describe_request(asked: ForecastAsked) -> str:
    """Say what was asked to be different, as it was typed."""
    models = [f"{asked.models} models, the next after {asked.swap_every} tasks"] if asked.models > 1 else []
    load = [f"loading takes {asked.load}"] if asked.load else []
    spread = [f"durations up to {asked.spread} above and below"] if asked.spread else []
    return ", ".join(
        [*models, *load, *spread, *(f"slow {text}" for text in asked.slow), *(f"away {text}" for text in asked.fail)]
    )


def _check_workload(cluster: Cluster, name: str | None, where: str) -> UnknownWorkloadError | None:
    if name is None or name in cluster.workloads:
        return None
    what = f"the cluster file has no workload {name!r}"
    return UnknownWorkloadError(what, where=where, hint=did_you_mean(name, cluster.workloads))


def read_instant(text: str, *, now: datetime) -> datetime:
    """Read an instant (`2026-03-01T22:00`) or how long ago it was (`12h`). Raises: SinceError."""
    try:
        return now - parse_duration(text)
    except UnitError:
        pass
    try:
        match = datetime.fromisoformat(text)
    except ValueError as error:
        raise SinceError(
            f"neither an instant nor a duration: {text!r}", hint="write 12h or 2026-03-01T22:00"
        ) from error
    return match if match.tzinfo else match.replace(tzinfo=now.tzinfo)


def _read_since(text: str | None, option: str, problems: list[Problem]) -> datetime | None:
    if text is None:
        return None
    try:
        return read_instant(text, now=datetime.now(UTC))
    except SinceError as error:
        problems.append(Problem(code=error.code, what=error.what, where=option, hint=error.hint))
        return None


def _read_scenario(cluster: Cluster, asked: ForecastAsked, problems: list[Problem]) -> tuple[float | None, Scenario]:
    known = [slot.id for slot in list_gpu_slots(cluster, frozenset())]
    night_s = _read_seconds(asked.night, "--night", problems)
    load_s = _read_seconds(asked.load, "--load", problems)
    if night_s == 0:
        problems.append(
            _make_problem("a night of no length has nothing to forecast", "--night", "give it hours, as 8h")
        )
    slowdown = dict(_read_slow_slots(asked.slow, known, problems))
    outages = tuple(_read_failures(asked.fail, known, problems))
    spread = _read_share(asked.spread, problems)
    scenario = Scenario(
        slowdown=slowdown,
        outages=outages,
        models=asked.models,
        swap_every=asked.swap_every if asked.models > 1 else 1,
        load_s=load_s,
        spread=spread,
    )
    return night_s, scenario


def _read_share(text: str | None, problems: list[Problem]) -> float:
    if text is None:
        return 0.0
    percent = _read_number(text.strip().removesuffix("%"))
    if percent is None or not 0 <= percent < 100:
        problems.append(_make_problem(f"not a share from 0 to 100 %: {text!r}", "--spread", "write it as 20%"))
        return 0.0
    return percent / 100


def _read_slow_slots(
    texts: Iterable[str], known: Sequence[SlotId], problems: list[Problem]
) -> Iterator[tuple[SlotId, float]]:
    for text in texts:
        match = _SLOW.fullmatch(text)
        factor = _read_number(match["factor"]) if match else None
        if match is None or factor is None:
            problems.append(_make_problem(f"not a slot and a factor: {text!r}", "--slow", "write it as node/gpu1=1.5"))
        elif not 1 / _MOST_FACTOR <= factor <= _MOST_FACTOR:
            what = f"a factor is from {1 / _MOST_FACTOR:g} to {_MOST_FACTOR}, not {match['factor']!r}"
            problems.append(_make_problem(what, "--slow", "use `--fail` for a slot that does nothing"))
        elif _is_known(match["slot"], known, "--slow", problems):
            yield SlotId(match["slot"]), factor


def _read_failures(texts: Iterable[str], known: Sequence[SlotId], problems: list[Problem]) -> Iterator[Outage]:
    for text in texts:
        slot, at, span = text.partition("@")
        begin, dots, end = span.partition("..")
        if not (slot and at and begin) or (dots and not end):
            problems.append(_make_problem(f"not a slot and a time: {text!r}", "--fail", "write it as node/gpu1@2h..4h"))
            continue
        from_s = _read_seconds(begin, "--fail", problems)
        until_s = _read_seconds(end, "--fail", problems) if end else inf
        if not _is_known(slot, known, "--fail", problems) or from_s is None or until_s is None:
            continue
        if from_s >= until_s:
            problems.append(
                _make_problem(f"it ends before it begins: {text!r}", "--fail", "give the earlier time first")
            )
            continue
        yield Outage(place=SlotId(slot), from_s=from_s, until_s=until_s)


def _is_known(slot: str, known: Sequence[SlotId], option: str, problems: list[Problem]) -> bool:
    if slot in known:
        return True
    problems.append(_make_problem(f"the cluster file has no GPU {slot!r}", option, did_you_mean(slot, known)))
    return False


def _read_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_seconds(text: str | None, option: str, problems: list[Problem]) -> float | None:
    if text is None:
        return None
    try:
        match: timedelta = parse_duration(text)
    except UnitError as error:
        problems.append(_make_problem(error.what, option, error.hint or "write it as 8h"))
        return None
    return match.total_seconds()


def _make_problem(what: str, where: str, hint: str) -> Problem:
    return Problem(code=ForecastAskedError.code, what=what, where=where, hint=hint)
