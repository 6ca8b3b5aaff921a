"""Compares a layout with a cluster: what applying it would change, by the server's own dry run, and what others set."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from corral.deploying.differences import FieldDifference, ForeignFields, compare_objects, list_foreign_fields
from corral.deploying.steps import Step, Verb
from corral.errors import Problem
from corral.kubernetes.errors import FieldConflictError, ForbiddenError, RefusedError
from corral.operations.deploying.applying import Target
from corral.operations.deploying.stepping import Objects, describe_refusal, is_checkable
from corral.work import Json

_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDifference:
    """An object that would change."""

    object: str
    change: str
    """`new`, `changed`, `deleted`, `waiting` for a CRD, or `refused`."""
    fields: tuple[FieldDifference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictOfFields:
    """A field that another manager has set to another value than the cluster file."""

    object: str
    field: str
    manager: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutDifference:
    """The differences between a layout and a cluster."""

    layout: str
    active: str | None
    """The layout that is active; None where none is."""
    objects: tuple[ObjectDifference, ...]
    conflicts: tuple[ConflictOfFields, ...]
    foreign: tuple[ForeignFields, ...]
    """Fields that others have set and the file leaves open; applying keeps them."""
    refused: tuple[Problem, ...]
    kept: tuple[str, ...]
    """Objects that are no longer rendered and stay: volumes with data and the like."""

    @property
    def is_empty(self) -> bool:
        """Whether applying would change nothing."""
        return not (self.objects or self.conflicts or self.refused)


async def compare_layout(cluster: Objects, target: Target) -> LayoutDifference:
    """Compare a layout with a cluster; nothing is changed. Raises: UnreachableError."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(step: Step) -> _Look:
        async with gate:
            return await _look_at(cluster, step, target)

    looks = await asyncio.gather(*(look(step) for step in target.plan.steps))
    waiting = [ObjectDifference(object=str(step.key), change="waiting") for step in target.plan.waiting]
    conflicts = tuple(conflict for look in looks for conflict in look.conflicts)
    fields_by_object: dict[str, set[str]] = {}
    for conflict in conflicts:
        fields_by_object.setdefault(conflict.object, set()).add(conflict.field)
    live = ((key, target.snapshot.objects.get(key)) for key in sorted(target.plan.applied))
    return LayoutDifference(
        layout=target.wanted.layout,
        active=target.state.layout,
        objects=(*(look.difference for look in looks if look.difference is not None), *waiting),
        conflicts=conflicts,
        foreign=tuple(
            fields
            for key, value in live
            if value is not None
            for fields in list_foreign_fields(str(key), value, fields_by_object.get(str(key), ()))
        ),
        refused=tuple(look.refusal for look in looks if look.refusal is not None),
        kept=tuple(map(str, target.plan.kept)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """The result of a step's dry run."""

    difference: ObjectDifference | None = None
    conflicts: tuple[ConflictOfFields, ...] = ()
    refusal: Problem | None = None


async def _look_at(cluster: Objects, step: Step, target: Target) -> _Look:
    key = str(step.key)
    if step.verb is Verb.DELETE:
        return _Look(difference=ObjectDifference(object=key, change="deleted"))
    before = target.snapshot.objects.get(step.key)
    if before is None and not is_checkable(step, target.snapshot):
        return _Look(difference=ObjectDifference(object=key, change="new"))
    conflicts: tuple[ConflictOfFields, ...] = ()
    try:
        try:
            after = await _try_step(cluster, step, force=False)
        except FieldConflictError as error:
            conflicts = tuple(
                ConflictOfFields(object=key, field=conflict.field, manager=conflict.manager)
                for conflict in error.conflicts
            )
            after = await _try_step(cluster, step, force=True)
    except (ForbiddenError, RefusedError) as error:
        return _Look(difference=ObjectDifference(object=key, change="refused"), refusal=describe_refusal(step, error))
    if before is None:
        return _Look(difference=ObjectDifference(object=key, change="new"))
    fields = compare_objects(before, after, step.value)
    difference = ObjectDifference(object=key, change="changed", fields=fields) if fields else None
    return _Look(difference=difference, conflicts=conflicts)


async def _try_step(cluster: Objects, step: Step, *, force: bool) -> Json:
    if step.verb is Verb.LABEL:
        return await cluster.patch(step.key, step.value, dry_run=True)
    return await cluster.apply(step.value, force=force, dry_run=True)
