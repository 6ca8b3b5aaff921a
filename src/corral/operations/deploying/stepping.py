"""Carries out steps on a cluster. Steps can be repeated, so that a run that was interrupted is finished by the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from corral.deploying.differences import compare_objects
from corral.deploying.order import CRD, NAMESPACE
from corral.deploying.state import is_owned
from corral.deploying.steps import Step, Verb, choose_propagation, is_replaceable
from corral.errors import CorralError, Problem, ProblemsError
from corral.errors import Kind as ErrorKind
from corral.kubernetes.errors import FieldConflictError, ForbiddenError, RefusedError, UnknownKindError
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.units import list_some
from corral.work import Json

_CHECKS_AT_ONCE = 8
_SERVED_WITHIN_S = 60.0
"""Time for the API server to serve the kind of a CRD that was just applied; it takes a second or two."""
_LOOK_AGAIN_S = 0.5

CREATED = "created"
CHANGED = "changed"
UNCHANGED = "unchanged"
REPLACED = "replaced"
DELETED = "deleted"
UNCHECKED = "unchecked"


class Objects(Protocol):
    """Objects of a cluster, as `corral.kubernetes.api.Api` reads and writes them."""

    async def observe(self, kinds: Iterable[Kind], namespaces: Iterable[str] | None = None) -> Snapshot:
        """Take a snapshot of objects of these kinds."""
        ...

    async def list(self, kind: Kind, namespace: str | None = None, *, labels: str | None = None) -> tuple[Json, ...]:
        """List objects, of all namespaces unless one is named."""
        ...

    async def get(self, key: ObjectKey) -> Json | None:
        """Get an object; None when it is not there."""
        ...

    async def apply(self, value: Json, *, force: bool = False, dry_run: bool = False) -> Json:
        """Apply an object server-side."""
        ...

    async def create(self, value: Json) -> Json:
        """Create an object. Raises: RefusedError when it is there."""
        ...

    async def patch(self, key: ObjectKey, change: Json, *, part: str = "", dry_run: bool = False) -> Json:
        """Merge a change into an object."""
        ...

    async def delete(self, key: ObjectKey, *, propagation: str = "Background", dry_run: bool = False) -> bool:
        """Delete an object; False when it was not there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """A step that was carried out."""

    number: int
    """From 1."""
    of: int
    step: Step
    result: str
    """`created`, `changed`, `unchanged`, `replaced`, `deleted`; `unchecked` where a dry run cannot know."""


Report = Callable[[StepDone], None]


class RefusedStepsError(ProblemsError):
    """The API server refuses steps in its dry run; nothing was changed."""

    code: ClassVar[str] = "deploy.refused"


class ConflictingStepsError(RefusedStepsError):
    """Others have set fields to other values, and that is all that keeps the steps back; nothing was changed."""

    code: ClassVar[str] = "deploy.conflict"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class HalfDoneError(CorralError):
    """Some steps were carried out, and others were not; running the command again goes on there."""

    code: ClassVar[str] = "deploy.half_done"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE

    def __init__(self, done: Sequence[StepDone], left: Sequence[Step], causes: Sequence[Problem]) -> None:
        super().__init__(
            f"{len(done)} of {len(done) + len(left)} steps are done; not done: {list_some(map(str, left), most=5)}",
            hint="fix the cause and run the command again: it goes on where this one stopped",
        )
        self.done = tuple(done)
        self.left = tuple(left)
        self._causes = tuple(causes)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What stopped the steps, then how far they came."""
        return (*self._causes, Problem(code=self.code, what=self.what, hint=self.hint))


async def check_steps(cluster: Objects, steps: Sequence[Step], snapshot: Snapshot, *, force: bool = False) -> None:
    """Have the API server check steps, all of them, before any is carried out; nothing is changed.

    An object in a namespace that is not there yet cannot be checked. Raises: RefusedStepsError with every problem;
    UnreachableError.
    """
    gate = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def check(step: Step) -> Problem | None:
        async with gate:
            try:
                await _carry_out(cluster, step, snapshot, force=force, dry_run=True)
            except (FieldConflictError, ForbiddenError, RefusedError) as error:
                return describe_refusal(step, error)
            return None

    answers = await asyncio.gather(*(check(step) for step in steps if is_checkable(step, snapshot)))
    problems = [problem for problem in answers if problem is not None]
    if problems and all(problem.code == FieldConflictError.code for problem in problems):
        raise ConflictingStepsError(problems)
    if problems:
        raise RefusedStepsError(problems)


async def run_steps(
    cluster: Objects,
    steps: Sequence[Step],
    snapshot: Snapshot,
    *,
    report: Report = lambda _: None,
    force: bool = False,
    dry_run: bool = False,
    before: Sequence[StepDone] = (),
    later: int = 0,
) -> tuple[StepDone, ...]:
    """Carry out steps in their order, and report each; gives them after those that were carried out `before`.

    They are numbered with those, and with as many as follow `later`.

    A refused step keeps back those of later ranks, which can depend on it; the others of its rank are carried out.
    Raises: HalfDoneError.
    """
    done = list(before)
    of = len(before) + len(steps) + later
    refused: list[tuple[Step, Problem]] = []
    for place, step in enumerate(steps):
        if refused and step.rank != refused[0][0].rank:
            break
        try:
            result = await _carry_out_when_served(cluster, step, steps, snapshot, force=force, dry_run=dry_run)
        except (FieldConflictError, ForbiddenError, RefusedError) as error:
            refused.append((step, describe_refusal(step, error)))
        except CorralError as error:
            left = [*(failed for failed, _ in refused), *steps[place:]]
            raise HalfDoneError(done, left, [*(problem for _, problem in refused), *error.problems]) from error
        else:
            done.append(StepDone(number=len(before) + place + 1, of=of, step=step, result=result))
            report(done[-1])
    if refused:
        carried_out = {id(part.step) for part in done}
        left = [step for step in steps if id(step) not in carried_out]
        raise HalfDoneError(done, left, [problem for _, problem in refused])
    return tuple(done)


def describe_refusal(step: Step, error: CorralError) -> Problem:
    """Describe why a step was refused, as a problem of its object."""
    if isinstance(error, FieldConflictError):
        fields = "; ".join(f"{conflict.field} by {conflict.manager!r}" for conflict in error.conflicts)
        return Problem(
            code=error.code,
            what=f"others have set fields of {step.key} to other values: {fields}",
            where=str(step.key),
            hint="put their values into the cluster file, or take the fields over with `--force`",
        )
    hint = error.hint or "change the cluster file, or report it: Corral renders objects that are accepted"
    return Problem(code=error.code, what=f"{step}: {error.what}", where=str(step.key), hint=hint)


def is_checkable(step: Step, snapshot: Snapshot) -> bool:
    """Return whether a dry run can judge a step now: its kind is served, and its namespace is there."""
    if step.key.kind not in snapshot.served:
        return False
    return not step.key.namespace or ObjectKey(NAMESPACE, "", step.key.namespace) in snapshot.objects


async def _carry_out_when_served(
    cluster: Objects, step: Step, steps: Sequence[Step], snapshot: Snapshot, *, force: bool, dry_run: bool
) -> str:
    """Carry out a step; one whose CRD is among the steps waits until its kind is served."""
    if dry_run and not is_checkable(step, snapshot):
        return UNCHECKED
    defines = any(other.key.kind == CRD for other in steps)
    deadline = asyncio.get_running_loop().time() + _SERVED_WITHIN_S
    while True:
        try:
            return await _carry_out(cluster, step, snapshot, force=force, dry_run=dry_run)
        except UnknownKindError:
            if not defines or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_LOOK_AGAIN_S)


async def _carry_out(cluster: Objects, step: Step, snapshot: Snapshot, *, force: bool, dry_run: bool) -> str:
    if step.verb is Verb.DELETE:
        return DELETED if await cluster.delete(step.key, dry_run=dry_run) else UNCHANGED
    before = snapshot.objects.get(step.key)
    if step.verb is Verb.ADD:
        return await _add_keys(cluster, step, dry_run=dry_run)
    if step.verb is Verb.LABEL:
        return _compare(before, await cluster.patch(step.key, step.value, dry_run=dry_run), step)
    try:
        return _compare(before, await cluster.apply(step.value, force=force or step.forced, dry_run=dry_run), step)
    except RefusedError as error:
        if not is_replaceable(step.key.kind, error.what) or not await _is_ours(cluster, step):
            raise
        if not dry_run:
            await _replace(cluster, step)
        return REPLACED


async def _add_keys(cluster: Objects, step: Step, *, dry_run: bool) -> str:
    if await cluster.get(step.key) is None:
        await cluster.apply(step.value, dry_run=dry_run)
        return CREATED
    await cluster.patch(step.key, {"stringData": step.value["stringData"]}, dry_run=dry_run)
    return CHANGED


async def _is_ours(cluster: Objects, step: Step) -> bool:
    """Return whether an object was applied by this installation, and can be made anew."""
    live = await cluster.get(step.key)
    labels: Mapping[str, str] = step.value["metadata"].get("labels") or {}
    return live is not None and is_owned(live, labels.get("app.kubernetes.io/part-of", ""))


async def _replace(cluster: Objects, step: Step) -> None:
    """Delete an object and apply it again: killed in between, the next run applies it."""
    await cluster.delete(step.key, propagation=choose_propagation(step.key.kind))
    for _ in range(round(_SERVED_WITHIN_S / _LOOK_AGAIN_S)):
        if await cluster.get(step.key) is None:
            break
        await asyncio.sleep(_LOOK_AGAIN_S)
    await cluster.apply(step.value, force=True)


def _compare(before: Json | None, after: Json, step: Step) -> str:
    """Compare by content: controllers write to an object between two looks, so its version says nothing."""
    if before is None:
        return CREATED
    return CHANGED if compare_objects(before, after, step.value) else UNCHANGED
