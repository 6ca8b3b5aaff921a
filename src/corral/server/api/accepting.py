"""From what a client asks to tasks in the queue: convert, check against the cluster, store."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from corral.cluster.destinations import Destination, find_destination
from corral.cluster.values import Cluster
from corral.engine_facts import EngineKind
from corral.engine_kinds import ENGINES
from corral.engines.inputs import check_inputs, find_model_name
from corral.errors import Problem
from corral.requests import BatchFields, TaskFields, fill_in, find_deadline, get_values, select
from corral.server.api.instances import require_instances
from corral.server.api.requests import BatchAsked, BatchTaskAsked, TaskAsked
from corral.server.api.state import ApiState
from corral.server.api.strict_json import LOOP_BYTES
from corral.server.auth import Caller, Role, RoleError
from corral.server.keys.limits import require_model
from corral.server.observing import find_zone
from corral.tasks.submission_checks import (
    SubmissionError,
    SubmissionRules,
    check,
    check_folder_names,
    with_digest,
)
from corral.tasks.values import Accepted, Submission, TaskSpec


def make_task_submission(asked: TaskAsked, owner: str, idempotency_key: str | None) -> Submission:
    """Return the submission of a task that belongs to no batch."""
    return Submission(owner=owner, tasks=(make_spec(asked, asked.engine),), idempotency_key=idempotency_key)


def make_batch_submission(asked: BatchAsked, owner: str, idempotency_key: str | None) -> Submission:
    """Return the submission of a batch, with what its tasks have in common written into each."""
    merged = (merge(asked.defaults, task) for task in asked.tasks)
    specs = tuple(make_spec(task, f"{task.engine or 'task'}-{index}") for index, task in enumerate(merged, 1))
    return Submission(owner=owner, batch=select(asked, BatchFields), tasks=specs, idempotency_key=idempotency_key)


async def accept(
    api: ApiState,
    caller: Caller,
    submission: Submission,
    *,
    size: int | None = None,
    admitted: Collection[str | None] = (),
) -> Accepted:
    """Check a submission and store it; `size` is that of the body it came in, where it came in one.

    `admitted` has models that the caller's key was found to be for, by another name.

    Raises: KeyLimitError, KeyModelError, RoleError, SubmissionError with every problem, and what
    `corral.tasks.store.submitting.submit` raises.
    """
    require_rights(caller, submission, admitted)
    with api.services.keys.enter(caller.key, caller.limits):
        return await _accept(api, replace(submission, key=caller.key), size)


async def _accept(api: ApiState, submission: Submission, size: int | None) -> Accepted:
    try:
        return await api.intake.submit(await check_submission(api, submission, size=size))
    except SubmissionError as error:
        if submission.batch is None:
            raise _of_single(error, submission.tasks[0].name) from error
        raise


async def check_submission(api: ApiState, submission: Submission, *, size: int | None = None) -> Submission:
    """Check a submission against the cluster file and the instances; return it as it is stored.

    `size` as in `accept`. Raises: SubmissionError with every problem.
    """
    cluster = api.services.cluster
    # Listing slots for each submission would cost.
    rules = make_rules(api, list_nodes(api) if _names_node(submission) else set())
    if size is not None and size <= LOOP_BYTES:
        submission = prepare(submission, rules, cluster)
    else:  # a batch of 10,000 takes some 300 ms
        submission = await asyncio.to_thread(prepare, submission, rules, cluster)
    await require_instances(api.services, submission)
    return submission


def require_rights(caller: Caller, submission: Submission, admitted: Collection[str | None] = ()) -> None:
    """Return when the caller can submit tasks of these engines and models; `admitted` as in `accept`.

    Raises: KeyModelError, RoleError.
    """
    if caller.limits is not None:
        for model in {task.model for task in submission.tasks}.difference(admitted):
            require_model(caller.key, caller.limits, model)
    if caller.role is not Role.ADMIN and (engine := _find_admin_engine(submission)) is not None:
        raise RoleError(f"{caller.owner!r} cannot submit `{engine}` tasks", hint="ask an administrator")


def make_rules(api: ApiState, nodes: Collection[str]) -> SubmissionRules:
    """Return what submissions are checked against now; `nodes` are those that slots are on."""
    cluster = api.services.cluster
    return SubmissionRules(
        queues=cluster.queues.keys(),
        nodes=nodes,
        known_nodes={*nodes, *(node.name for node in cluster.nodes)},
        output_folders=[folder.path for folder in cluster.output_folders],
        webhooks=cluster.webhooks,
        notify=cluster.notify,
        check_engine=lambda task: check_engine(task, cluster),
    )


def list_nodes(api: ApiState) -> set[str]:
    """Return the nodes that slots are on."""
    return {place.device.node for place in api.services.board.places}


def _names_node(submission: Submission) -> bool:
    return any(task.node is not None or task.prefer_node is not None for task in submission.tasks)


def prepare(submission: Submission, rules: SubmissionRules, cluster: Cluster) -> Submission:
    """Check a submission, and fill in what the cluster file says. Raises: SubmissionError with every problem."""
    batch = _set_deadline(submission.batch, cluster, datetime.now(UTC))
    check(submission, rules, also=tuple(_find_time_problems(batch, cluster, datetime.now(UTC))))
    submission = with_digest(submission)  # of what was asked: the cluster file can be another when it is asked again
    tasks = (fill_in_nodes(task, cluster) for task in submission.tasks)
    submission = replace(submission, batch=batch, tasks=tuple(_add_destinations(tasks, submission.batch, cluster)))
    if problems := list(check_folder_names(submission)):
        raise SubmissionError(problems)
    return submission


def _set_deadline(batch: BatchFields | None, cluster: Cluster, now: datetime) -> BatchFields | None:
    """Make an instant of a batch's deadline."""
    if batch is None or batch.by is None:
        return batch
    return batch.model_copy(update={"by": find_deadline(batch.by, now, find_zone(cluster))})


def _find_time_problems(batch: BatchFields | None, cluster: Cluster, now: datetime) -> Iterator[Problem]:
    """Yield a deadline that has passed, and a wait for cheap power where all power costs the same."""
    if batch is None:
        return
    if isinstance(batch.by, datetime) and batch.by <= now:
        yield Problem(
            code="submission.deadline_passed",
            what=f"the deadline {batch.by.isoformat()} has passed",
            where="by",
            hint="give a later instant, or a time of the clock: 07:00 is the next one",
        )
    if batch.when is not None and (cluster.electricity is None or cluster.electricity.find_cheap_hours() is None):
        yield Problem(
            code="submission.no_tariff",
            what="there are no cheap hours to wait for: power has one price in the cluster file",
            where="when",
            hint="give `electricity` in the cluster file a `tariff`, or leave `when` out",
        )


def _add_destinations(tasks: Iterable[TaskSpec], batch: BatchFields | None, cluster: Cluster) -> Iterator[TaskSpec]:
    """Give tasks the folder of their outputs: that of their batch, else of their queue."""
    asked = None if batch is None else batch.outputs
    folders = [folder.path for folder in cluster.output_folders]
    destinations: dict[str, Destination | None] = {}
    for task in tasks:
        pattern = asked or cluster.queues[task.queue].outputs
        if pattern is None:
            yield task
            continue
        if pattern not in destinations:
            destinations[pattern] = find_destination(pattern, folders)
        yield task.model_copy(update={"destination": destinations[pattern]})


def fill_in_nodes(task: TaskSpec, cluster: Cluster) -> TaskSpec:
    """Give a task that names no node those of its workload."""
    if task.node is not None or task.prefer_node is not None:
        return task
    node, prefer_node = cluster.find_nodes(task.engine, task.model)
    if node is None and prefer_node is None:
        return task
    return task.model_copy(update={"node": node, "prefer_node": prefer_node})


def _find_admin_engine(submission: Submission) -> str | None:
    """Find an engine that only administrators can use: `command` runs any program as the server's user."""
    engines = (task.engine for task in submission.tasks)
    return next((name for name in engines if name in ENGINES and ENGINES[name].admin_only), None)


def is_enabled(kind: EngineKind, cluster: Cluster) -> bool:
    """Whether tasks of this engine are taken in this cluster."""
    settings = cluster.engines.get(kind.name)
    return kind.on_by_default if settings is None else settings.enabled


def check_engine(task: TaskSpec, cluster: Cluster) -> Iterator[Problem]:
    """Yield what is wrong with a task's engine, model, files and inputs."""
    if not task.engine:
        yield Problem(code="input.missing", what="'engine' is missing", where="engine", hint="name one")
        return
    kind = ENGINES.get(task.engine)
    if kind is not None:
        yield from _check_kind(task, kind, cluster)
    yield from check_inputs(task.engine, task.inputs)


def _check_kind(task: TaskSpec, kind: EngineKind, cluster: Cluster) -> Iterator[Problem]:
    if not is_enabled(kind, cluster):
        hint = f"set `engines.{kind.name}.enabled: true` in the cluster file"
        yield Problem(code="input.engine_off", what=f"{kind.name!r} is off in this cluster", where="engine", hint=hint)
    if kind.needs_model and task.model is None:
        hint = "`corral models list` shows those that are here"
        yield Problem(code="input.missing", what=f"{kind.name!r} needs a model", where="model", hint=hint)
    count = len(task.files)
    if count < kind.files.minimum or (kind.files.maximum is not None and count > kind.files.maximum):
        what = f"{kind.name!r} takes {kind.files.summary}, not {count}"
        yield Problem(code="input.files", what=what, where="files")


def merge(defaults: BatchTaskAsked, task: BatchTaskAsked) -> BatchTaskAsked:
    """Return a task with what it has in common with the others of its batch."""
    own, common = ({name: getattr(asked, name) for name in asked.model_fields_set} for asked in (task, defaults))
    return task.model_copy(update=fill_in(own, common))


def make_spec(asked: TaskAsked, name: str) -> TaskSpec:
    """Return a task as it is submitted; `name` is for one without a name."""
    fields = get_values(asked, TaskFields)
    fields["model"] = find_model_name(asked.engine, asked.model, asked.inputs)
    return TaskSpec.model_construct(
        **fields,
        name=asked.name or name,
        engine=asked.engine,
        files=asked.files,
        needs=asked.needs,
    )


def _of_single(error: SubmissionError, name: str) -> SubmissionError:
    """Return the same problems with paths as the client sees them, who sent no list of tasks."""
    prefixes = (f"tasks[0] ({name})", "tasks[0]", f"{name}")
    return SubmissionError([replace(problem, where=_without(problem.where, prefixes)) for problem in error.problems])


def _without(where: str | None, prefixes: tuple[str, ...]) -> str | None:
    for prefix in prefixes:
        if where is not None and where.startswith(prefix):
            return where.removeprefix(prefix).removeprefix(".") or None
    return where
