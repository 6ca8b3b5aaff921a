"""Instances that lack what tasks need: reported to those who ask, and a reason to refuse a submission.

A submission is refused only when every instance of the engine answered, and each lacks something: an instance that is
away can have what the others lack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice

from corral.cluster.values import EngineSettings
from corral.engine_facts import EngineKind
from corral.engine_kinds import ENGINES
from corral.engines.surveying import RECENT_S, REMEMBERED_S, InstanceReport, Need, list_needs
from corral.errors import Problem
from corral.server.api.strict_json import MAX_PROBLEMS
from corral.server.services import Services
from corral.tasks.store.submitting import is_key_known
from corral.tasks.submission_checks import SubmissionError
from corral.tasks.values import Submission
from corral.units import list_some
from corral.work import Json

Wanted = Mapping[tuple[Need, ...], Sequence[int]]
"""Lists of needs, and the tasks of a submission that have them."""


async def require_instances(
    services: Services, submission: Submission, wanted: Mapping[str, Wanted] | None = None
) -> None:
    """Return when no task needs what no instance has, or when its key was accepted before.

    `wanted` has the needs by engine, where they are known already. Raises: SubmissionError.
    """
    problems: list[Problem] = []
    for engine in {task.engine for task in submission.tasks}:
        kind, settings = ENGINES[engine], services.cluster.engines.get(engine)
        if kind.needs is not None and settings is not None and settings.instances:
            needs = (
                await asyncio.to_thread(_group_needs, kind, submission) if wanted is None else wanted.get(engine, {})
            )
            problems += await _find_problems(services, kind, settings, submission, needs)
    if problems and not (submission.idempotency_key and await is_key_known(services.pool, submission)):
        raise SubmissionError(problems)


async def survey(services: Services, kind: EngineKind, inputs: Mapping[str, Json]) -> tuple[InstanceReport, ...]:
    """Report what each instance of the engine lacks for a task with these inputs."""
    settings = services.cluster.engines.get(kind.name) or EngineSettings(name=kind.name)
    needs = await asyncio.to_thread(list_needs, kind, inputs)
    return await services.surveyor.compare(kind, settings, [needs], age_s=RECENT_S)


async def find_lacking_files(
    services: Services, kind: EngineKind, inputs: Mapping[str, Json]
) -> dict[str, tuple[Need, ...]]:
    """Return the model files that each instance lacks for a task with these inputs; one that is away lacks none."""
    settings = services.cluster.engines.get(kind.name) or EngineSettings(name=kind.name)
    needs = await asyncio.to_thread(list_needs, kind, inputs)
    files = [need for need in dict.fromkeys(needs) if need.file is not None]
    reports = await services.surveyor.compare(kind, settings, [[need] for need in files], age_s=0)
    return {
        report.instance.name: tuple(need for need, lacks in zip(files, report.missing, strict=False) if lacks)
        for report in reports
    }


async def _find_problems(
    services: Services, kind: EngineKind, settings: EngineSettings, submission: Submission, wanted: Wanted
) -> list[Problem]:
    for age_s in (REMEMBERED_S, RECENT_S):
        reports = await services.surveyor.compare(kind, settings, list(wanted), age_s=age_s)
        problems = await asyncio.to_thread(_judge, kind, wanted, reports, submission)
        if not problems:
            return []
    return problems


def _group_needs(kind: EngineKind, submission: Submission) -> Wanted:
    groups: dict[tuple[Need, ...], list[int]] = {}
    for index, task in enumerate(submission.tasks):
        if task.engine == kind.name:
            groups.setdefault(list_needs(kind, task.inputs), []).append(index)
    return groups


def _judge(
    kind: EngineKind, wanted: Wanted, reports: Sequence[InstanceReport], submission: Submission
) -> list[Problem]:
    """Describe what no instance has, as many problems as one answer holds; nothing where an instance is away."""
    if any(report.away is not None for report in reports):
        return []
    problems = (
        problem
        for number, tasks in enumerate(wanted.values())
        if all(report.missing[number] for report in reports)
        for problem in _describe(
            kind, tasks, [(report.instance.name, report.missing[number]) for report in reports], submission
        )
    )
    return list(islice(problems, MAX_PROBLEMS))


def _describe(
    kind: EngineKind,
    tasks: Sequence[int],
    missing: Sequence[tuple[str, tuple[Problem, ...]]],
    submission: Submission,
) -> list[Problem]:
    """Say what no instance has; where each lacks something else, say that of each."""
    where = f"tasks[{tasks[0]}] ({submission.tasks[tasks[0]].name}).inputs"
    more = f" ({len(tasks)} tasks need it)" if len(tasks) > 1 else ""
    lacking = [{problem.what for problem in problems} for _, problems in missing]
    everywhere = [problem for problem in missing[0][1] if all(problem.what in whats for whats in lacking)]
    if everywhere:
        return [
            Problem(
                code=problem.code,
                what=f"no {kind.name} instance has {problem.what} of {problem.where}{more}",
                where=where,
                hint=problem.hint,
            )
            for problem in everywhere
        ]
    lacks = list_some(
        (f"{name} lacks {list_some(problem.what for problem in problems)}" for name, problems in missing),
        separator="; ",
    )
    what = f"no {kind.name} instance has all that a task needs{more}: {lacks}"
    return [Problem(code=missing[0][1][0].code, what=what, where=where, hint="make one of them complete")]
