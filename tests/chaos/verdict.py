"""Looks at what is left after a storm: the queue, the story, the files, the processes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from chaos.load import Planned
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.store.pool import Queries
from doubles.local_engines import running_below

TERMINAL = ("succeeded", "failed", "cancelled")
ENDS_AN_ATTEMPT = ("succeeded", "attempt_failed", "attempt_lost", "released", "stopped")
LOG = "log.txt"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the story."""

    at: datetime
    task: int
    kind: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Findings:
    """Everything that is not as it must be, and what was counted on the way."""

    problems: list[str] = field(default_factory=list[str])
    lines: list[Line] = field(default_factory=list[Line])
    attempts: Counter[str] = field(default_factory=Counter[str])
    """How attempts ended."""
    artifacts: int = 0


async def judge_queue(database: Queries, planned: Sequence[Planned], artifacts: ArtifactStore) -> Findings:
    """Compare what the queue recorded with what was planned."""
    findings = Findings()
    findings.lines = [
        Line(row["at"], row["task_id"], row["kind"], row["data"])
        for row in await database.fetch(
            "select at, task_id, kind, data from events where task_id is not null order by id"
        )
    ]
    tasks = await database.fetch(
        "select t.id, t.name, t.state, t.result, b.name as batch, b.id as batch_id from tasks t"
        " join batches b on b.id = t.batch_id where b.name = any($1::text[])",
        [batch.name for batch in planned],
    )
    outputs: dict[int, list[Any]] = defaultdict(list)
    for row in await database.fetch("select task_id, name, encode(sha256, 'hex') as sha256, size from outputs"):
        outputs[row["task_id"]].append(row)
    findings.problems += _as_planned(planned, tasks, outputs)
    findings.problems += _stories(findings)
    for row in (row for rows in outputs.values() for row in rows):
        findings.artifacts += 1
        if not artifacts.verify(row["sha256"]) or artifacts.locate(row["sha256"]).stat().st_size != row["size"]:
            findings.problems.append(f"task {row['task_id']}: the artifact {row['name']} is not whole")
    leases = await database.fetch("select slot, task_id from slot_leases")
    findings.problems += [f"slot {row['slot']} is still leased to task {row['task_id']}" for row in leases]
    return findings


def _as_planned(planned: Sequence[Planned], tasks: Sequence[Any], outputs: Mapping[int, list[Any]]) -> Iterator[str]:
    wanted = {name: expected for batch in planned for name, expected in batch.expected.items()}
    accepted = Counter(row["name"] for row in tasks)
    names = Counter(wanted.keys())
    if accepted != names:
        yield f"tasks were accepted more or less than once: {accepted - names} {names - accepted}"
    for row in tasks:
        expected = wanted[row["name"]]
        files = Counter(output["sha256"] for output in outputs.get(row["id"], ()) if output["name"] != LOG)
        if row["state"] != expected.state:
            yield f"task {row['id']} ({row['name']}) is {row['state']}, not {expected.state}"
        elif files != expected.files:
            yield f"task {row['id']} ({row['name']}) has other outputs than it must have"
        elif not expected.values.items() <= (row["result"] or {}).items():
            yield f"task {row['id']} ({row['name']}) has the result {row['result']}"


def _stories(findings: Findings) -> Iterator[str]:
    by_task: dict[int, list[Line]] = defaultdict(list)
    for line in findings.lines:
        by_task[line.task].append(line)
    for task, lines in by_task.items():
        ends = [line.kind for line in lines if line.data.get("state") in TERMINAL]
        if len(ends) != 1:
            yield f"task {task} ended {len(ends)} times: {ends}"
        if lines[-1].data.get("state") not in TERMINAL:
            yield f"task {task}: something happened after its end: {lines[-1].kind}"
        leased = [line.data["attempt"] for line in lines if line.kind == "leased"]
        ended = [line.data["attempt"] for line in lines if line.kind in ENDS_AN_ATTEMPT]
        findings.attempts.update(line.kind for line in lines if line.kind in ENDS_AN_ATTEMPT)
        if leased != ended:
            yield f"task {task}: its attempts did not each end once, in order: {leased} and {ended}"


def judge_machine(data_dir: Path) -> list[str]:
    """Say what a server that has stopped left behind."""
    alive = (*running_below(data_dir / "logs"), *_databases(data_dir / "postgres"))
    left = [path for path in (data_dir / "scratch").rglob("*") if not path.is_dir()]
    half = (data_dir / "artifacts" / "incoming").iterdir()
    return [
        *(f"process {process.pid} still runs: {' '.join(process.cmdline())[:100]}" for process in alive),
        *(f"an attempt left {path} behind" for path in left),
        *(f"a write was left half done: {path.name}" for path in half),
    ]


def _databases(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has ended, or is another user's
            if process.name() == "postgres" and process.cwd() == str(folder):
                yield process
