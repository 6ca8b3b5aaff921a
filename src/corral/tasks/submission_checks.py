"""Checks a submission before it is stored; every problem at once, each with its task and field.

What an engine accepts is asked through a function, since engines are the queue's siblings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import ClassVar

from corral.cluster.destinations import check_name, check_pattern
from corral.cluster.networks import is_inside
from corral.cluster.receivers import OF_TASKS, NotifyTarget, Webhooks
from corral.errors import Kind, Problem, ProblemsError, did_you_mean
from corral.requests import BatchFields, Fields
from corral.tasks.values import OutputRef, Submission, TaskSpec
from corral.work import Json

MAX_TASKS = 10_000
"""Tasks in one submission: a transaction of this size takes under a second and some 20 MB."""
MAX_INPUTS_BYTES = 1024 * 1024
"""Inputs of one task as JSON; files are for more."""
MAX_BYTES = 128 * 1024 * 1024
"""Inputs of all tasks of a submission as JSON, after what they have in common is written into each: with defaults of
0.9 MiB, a body of 1 MiB would become 879 MiB in the database. Four times the largest body."""
MAX_TOTAL_NEEDS = 100_000
"""Needs of all tasks of a submission; settling them takes some 30 microseconds each."""
_NAME_LENGTH = 200
_LONGEST_ID = str(2**63 - 1)
_ADD_TARGET = "add it under `notify` of the cluster file and run `corral reload`, or leave it out"

EngineCheck = Callable[[TaskSpec], Iterable[Problem]]
"""Returns what is wrong with a task's engine, model and inputs; `where` is relative to the task: `inputs.seed`."""


class SubmissionError(ProblemsError):
    """A submission was refused as a whole; nothing of it was stored."""

    code: ClassVar[str] = "submission.invalid"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRules:
    """The queues, nodes, folders and engines that a submission is checked against."""

    queues: Collection[str]
    nodes: Collection[str]
    """Those that slots are on."""
    known_nodes: Collection[str]
    """Those of the cluster file as well."""
    output_folders: Collection[str] = ()
    """Those below which outputs can be written by themselves."""
    webhooks: Webhooks = field(default_factory=Webhooks)
    notify: Collection[NotifyTarget] = ()
    check_engine: EngineCheck

    def without_engines(self) -> SubmissionRules:
        """Return the rules for tasks whose engines and inputs were checked before."""
        return replace(self, check_engine=_find_nothing)


def _find_nothing(_: TaskSpec) -> Iterable[Problem]:
    return ()


def check(submission: Submission, rules: SubmissionRules, *, also: Iterable[Problem] = ()) -> None:
    """Return when the submission can be stored. Raises: SubmissionError with every problem, those `also` known too."""
    sizes = _measure_all(submission)
    problems = [*_check_size(submission), *_check_names(submission), *_check_outputs(submission, rules)]
    problems.extend(() if submission.batch is None else _check_receivers(submission.batch, rules))
    known = {task.name for task in submission.tasks}
    for index, (task, size) in enumerate(zip(submission.tasks, sizes, strict=True)):
        problems.extend(_place(index, task, problem) for problem in _check_task(task, size, known, rules))
    problems.extend(_check_cycles(submission))
    problems.extend(also)
    if problems:
        raise SubmissionError(problems)


def needs_of(task: TaskSpec) -> tuple[str | int, ...]:
    """Return every task that this one needs: those it names, and those whose outputs it takes."""
    taken = (ref.task for ref in task.files.values() if isinstance(ref, OutputRef))
    return tuple(dict.fromkeys((*task.needs, *taken)))


def order_tasks(tasks: Iterable[TaskSpec]) -> Iterator[TaskSpec]:
    """Yield the tasks so that each comes after those of the same submission that it needs.

    Ids are given in this order: a task's needs always have smaller ids, and rows are locked by id.
    """
    by_name = {task.name: task for task in tasks}
    graph = {name: [need for need in needs_of(task) if need in by_name] for name, task in by_name.items()}
    yield from (by_name[name] for name in TopologicalSorter(graph).static_order())


def with_digest(submission: Submission) -> Submission:
    """Return the submission with its digest, which takes as long as writing all of it; without a key it needs none."""
    if submission.idempotency_key is None or submission.digest is not None:
        return submission
    return replace(submission, digest=compute_digest(submission))


def compute_digest(submission: Submission) -> bytes:
    """Return 32 bytes that are equal exactly when two submissions ask for the same."""
    # Without defaults: a field that is new in a later version changes nothing for those who do not use it.
    asked = [_strip_defaults(task) for task in submission.tasks]
    batch = None if submission.batch is None else _strip_defaults(submission.batch)
    return hashlib.sha256(json.dumps([batch, asked], sort_keys=True).encode()).digest()


def _strip_defaults(fields: Fields) -> dict[str, Json]:
    return fields.model_dump(mode="json", exclude_defaults=True)


def _measure_all(submission: Submission) -> list[int]:
    """Return the bytes of each task's inputs. Raises: SubmissionError, as soon as all together are known to be many."""
    sizes: list[int] = []
    total = needs = 0
    for task in submission.tasks:
        sizes.append(len(json.dumps(dict(task.inputs))))
        total += sizes[-1]
        needs += len(needs_of(task))
        if total > MAX_BYTES:
            what = f"the inputs of all tasks, defaults included, have more than {MAX_BYTES} bytes"
            hint = "submit its tasks as uploads (`POST /corral/v1/batches/uploaded`), or upload files instead"
        elif needs > MAX_TOTAL_NEEDS:
            what = f"the tasks have more than {MAX_TOTAL_NEEDS} needs together"
            hint = "let one task collect the outputs of many, and others need that one"
        else:
            continue
        raise SubmissionError([Problem(code="submission.too_large", what=what, where="tasks", hint=hint)])
    return sizes


def _check_size(submission: Submission) -> Iterator[Problem]:
    if not submission.tasks:
        yield Problem(code="submission.empty", what="it has no task", where="tasks", hint="add a task")
    if len(submission.tasks) > MAX_TASKS:
        what = f"{len(submission.tasks)} tasks are more than {MAX_TASKS}"
        yield Problem(code="submission.too_large", what=what, where="tasks", hint="submit several batches")


def _check_names(submission: Submission) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, task in enumerate(submission.tasks):
        where = f"tasks[{index}].name"
        if not task.name or len(task.name) > _NAME_LENGTH or not task.name.isprintable():
            what = f"a name has 1 to {_NAME_LENGTH} printable characters, not {task.name[:80]!r}"
            yield Problem(code="submission.bad_name", what=what, where=where, hint="give each task a short name")
        elif task.name in seen:
            what = f"the name {task.name!r} is there twice"
            yield Problem(code="submission.duplicate_name", what=what, where=where, hint="rename one of them")
        seen.add(task.name)


def _check_outputs(submission: Submission, rules: SubmissionRules) -> Iterator[Problem]:
    if submission.batch is not None and submission.batch.outputs is not None:
        yield from check_pattern(submission.batch.outputs, rules.output_folders)


def _check_receivers(batch: BatchFields, rules: SubmissionRules) -> Iterator[Problem]:
    """Yield why a batch cannot have its webhook, or who cannot be notified of it."""
    if batch.webhook is not None and rules.webhooks.secret_from is None:
        what = "batches can have no webhook here: the cluster file names no signing secret"
        hint = "add `webhooks: {secretFrom: VARIABLE}` to the cluster file and run `corral reload`"
        yield Problem(code="submission.webhook", what=what, where="webhook", hint=hint)
    elif batch.webhook is not None and is_inside(batch.webhook, rules.webhooks.allow_private):
        what = "the address of the webhook is inside the server's network"
        hint = "name a public address, or ask an administrator to add it to `webhooks.allowPrivate`"
        yield Problem(code="submission.webhook", what=what, where="webhook", hint=hint)
    targets = {target.to: target for target in rules.notify}
    for name in batch.notify:
        if name not in targets:
            what = f"there is no {name!r} under `notify` of the cluster file"
            hint = did_you_mean(name, targets, otherwise=None if targets else _ADD_TARGET)
            yield Problem(code="submission.notify", what=what, where="notify", hint=hint)
        elif not set(OF_TASKS) & set(targets[name].when):
            what = f"{name!r} gets no word of batches"
            hint = f"add `batch-ended` to the `when` of {name!r} in the cluster file"
            yield Problem(code="submission.notify", what=what, where="notify", hint=hint)


def check_folder_names(submission: Submission) -> Iterator[Problem]:
    """Yield the tasks whose names cannot be parts of the folders that their outputs are written to."""
    for index, task in enumerate(submission.tasks):
        if task.destination is None:
            continue
        parts = (task.name, *task.destination.fill_in(batch=_LONGEST_ID, task=task.name).split("/"))
        if problem := next(filter(None, map(check_name, parts)), None):
            what = f"its outputs are written to a folder of its name, and {problem}"
            where = f"tasks[{index}] ({task.name}).name"
            yield Problem(code="outputs.unsafe_path", what=what, where=where, hint="rename the task, or drop `outputs`")


def _check_task(task: TaskSpec, size: int, known: set[str], rules: SubmissionRules) -> Iterator[Problem]:
    if task.queue not in rules.queues:
        yield _describe_unknown("queue", task.queue, rules.queues)
    yield from _check_nodes(task, rules)
    for need in needs_of(task):
        if need == task.name:
            yield Problem(code="submission.needs_itself", what="it needs itself", where="needs", hint="remove it")
        elif isinstance(need, str) and need not in known:
            yield _describe_unknown("needs", need, known)
    yield from _check_content(task, size, rules)


def check_content(index: int, task: TaskSpec, size: int, rules: SubmissionRules) -> Iterator[Problem]:
    """Yield what is wrong with a task by itself; `size` is that of its inputs as JSON."""
    for problem in _check_content(task, size, rules):
        yield _place(index, task, problem)


def _check_content(task: TaskSpec, size: int, rules: SubmissionRules) -> Iterator[Problem]:
    if size > MAX_INPUTS_BYTES:
        what = f"the inputs have {size} bytes, more than {MAX_INPUTS_BYTES}"
        yield Problem(code="submission.inputs_too_large", what=what, where="inputs", hint="upload a file instead")
    yield from rules.check_engine(task)


def _place(index: int, task: TaskSpec, problem: Problem) -> Problem:
    where = f"tasks[{index}]" + (f" ({task.name})" if task.name else "")
    return replace(problem, where=f"{where}.{problem.where}" if problem.where else where)


def _check_nodes(task: TaskSpec, rules: SubmissionRules) -> Iterator[Problem]:
    listed = ", ".join(sorted(rules.nodes)[:10]) or "none"
    for name, node, known in (("node", task.node, rules.nodes), ("prefer_node", task.prefer_node, rules.known_nodes)):
        if node is not None and node not in known:
            what = f"no slot is on node {node!r}; nodes with slots: {listed}"
            hint = did_you_mean(node, known, otherwise="name one of them, or leave it out")
            yield Problem(code="submission.unknown_node", what=what, where=name, hint=hint)
    if task.node is not None and task.prefer_node not in (None, task.node):
        yield Problem(
            code="submission.contradicting_nodes",
            what=f"it must run on node {task.node!r} and prefers {task.prefer_node!r}",
            where="prefer_node",
            hint="leave one of the two out",
        )


def _describe_unknown(field: str, value: str, known: Collection[str]) -> Problem:
    hint = did_you_mean(value, known, otherwise=f"known: {', '.join(sorted(known)[:10]) or 'none'}")
    return Problem(code=f"submission.unknown_{field}", what=f"there is no {value!r}", where=field, hint=hint)


def _check_cycles(submission: Submission) -> Iterator[Problem]:
    names = {task.name for task in submission.tasks}
    graph: Mapping[str, list[str]] = {
        task.name: [str(need) for need in needs_of(task) if need in names and need != task.name]
        for task in submission.tasks
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        yield Problem(
            code="submission.cycle",
            what=f"tasks need each other in a circle: {circle}",
            where="tasks",
            hint="remove one of these needs",
        )
