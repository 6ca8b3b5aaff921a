"""Switches a cluster from one layout to another, or the storage within one, and rolls back when it does not get ready.

Each stage is written to the state of the installation before it begins, and can be repeated: a run that was killed is
taken up by the next, here or on another machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar

from corral.deploying.differences import join_snapshots
from corral.deploying.health import list_pods_of
from corral.deploying.order import POD, VOLUME
from corral.deploying.preflight import FORCED, OBSERVED, OBSERVED_EVERYWHERE, ObstaclesError, find_obstacles
from corral.deploying.readiness import StartForecast, Unready, forecast_start
from corral.deploying.state import State, list_owned
from corral.deploying.steps import Step, Verb, plan_deployment
from corral.deploying.storage_changes import LeftVolume
from corral.deploying.switching import (
    STAGES,
    Move,
    Stage,
    Switch,
    Way,
    choose_way,
    list_closed_services,
    plan_back,
    plan_forward,
    put_snapshot,
    put_switch,
    read_snapshot,
    read_switch,
)
from corral.errors import CorralError, Kind, Problem
from corral.kubernetes.errors import UnreachableError
from corral.operations.deploying.applying import Target, check_unchanged, list_remembered
from corral.operations.deploying.draining import (
    Queue,
    SlotSeen,
    close_slots,
    list_instances_by_url,
    open_slots,
    wait_until_idle,
)
from corral.operations.deploying.locking import StateKeeper, hold_installation
from corral.operations.deploying.moving import NotEndedError, apply_move, find_changed, scale_down, wait_for_end
from corral.operations.deploying.stepping import HalfDoneError, Objects, check_steps, run_steps
from corral.operations.deploying.verifying import UnverifiedError, wait_until_verified
from corral.operations.deploying.waiting import NotReadyError, wait_until_ready
from corral.snapshot import ObjectKey, Snapshot
from corral.units import format_duration

_VERIFIED_WITHIN_S = 30.0
"""The time in which Services lead to pods that are ready: controllers need a second or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A stage that has begun, or a fact of it."""

    number: int
    of: int
    stage: Stage
    is_back: bool
    what: str
    """`pop-os/gpu0: 1 task to its end`"""


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """The result of a switch."""

    before: str
    layout: str
    """The layout that is active now."""
    seconds: float
    is_back: bool = False
    why: str = ""
    """Why it was rolled back."""
    kept: tuple[str, ...] = ()
    """Objects that the layout does not have, and that stay."""
    left: tuple[LeftVolume, ...] = ()
    """Data that stays where it was, and that nothing uses now."""
    still_closed: tuple[str, ...] = ()
    """Slots that were closed and could not be opened: no server was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSwitch:
    """A switch that was planned and not begun."""

    before: str
    after: str
    way: Way
    stages: tuple[Progress, ...]
    obstacles: tuple[Problem, ...]
    kept: tuple[str, ...]
    left: tuple[LeftVolume, ...]
    forecast: StartForecast


class RolledBackError(CorralError):
    """A layout did not get ready, and the one before runs again."""

    code: ClassVar[str] = "switch.rolled_back"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE

    def __init__(self, switched: Switched) -> None:
        after = format_duration(switched.seconds)
        super().__init__(
            f"{switched.why}; rolled back to {switched.layout} in {after}; nothing was lost",
            hint="see `corral doctor --kubernetes`, then switch again",
        )
        self.switched = switched


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The choices of a run."""

    now: bool = False
    """Whether tasks of the queue are not waited for."""
    force: bool = False
    back: bool = False
    within_s: float | None = None
    """Seconds for the layout to get ready; None takes the forecast and its margin."""


@dataclass(kw_only=True)
class Switching:
    """A run of a switch; `queue` is None where no server runs."""

    cluster: Objects
    target: Target
    queue: Queue | None
    options: Options = field(default_factory=Options)
    report: Report = lambda _: None

    async def plan(self) -> PlannedSwitch:
        """Plan the switch, and find all obstacles; nothing is changed. Raises: UnfinishedSwitchError."""
        state = self.target.state
        way = choose_way(state, self.target.wanted.layout, back=self.options.back)
        switch = read_switch(state) or self._make_switch(state)
        is_back = way is Way.BACK
        move = await self._plan_back(state) if is_back else await self._plan_forward(state)
        obstacles = () if is_back else await self._find_obstacles(move)
        return PlannedSwitch(
            before=switch.before,
            after=switch.after,
            way=way,
            stages=tuple(self._describe(stage, move, is_back=is_back) for stage in STAGES),
            obstacles=obstacles,
            kept=tuple(map(str, move.kept)),
            left=move.storage.left,
            forecast=self._forecast(),
        )

    async def run(self) -> Switched:
        """Switch, or go on with a switch that was interrupted, or roll back.

        Raises: ObstaclesError before anything is changed; RolledBackError; UnfinishedSwitchError;
        BusyInstallationError; HalfDoneError and UnreachableError where running it again goes on.
        """
        state = self.target.state
        way = choose_way(state, self.target.wanted.layout, back=self.options.back)
        if way is Way.BEGIN:
            move = await self._plan_forward(state)
            obstacles = [
                problem
                for problem in await self._find_obstacles(move)
                if not (self.options.force and problem.code in FORCED)
            ]
            if obstacles:
                raise ObstaclesError(obstacles)
            await self._check(move)
        async with hold_installation(self.cluster, state.cluster, state.namespace, "corral switch") as keeper:
            check_unchanged(keeper.state, state)
            return await self._run(keeper, way)

    async def _run(self, keeper: StateKeeper, way: Way) -> Switched:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if way is Way.BEGIN:
            begin = put_snapshot(keeper.state, await self._observe(keeper.state), self._list_namespaces(keeper.state))
            await keeper.write(put_switch(begin, self._make_switch(keeper.state)))
        switch = _require_switch(keeper.state)
        if way is Way.BACK:
            switched = await self._roll_back(keeper, switch.why, begun)
            if switch.why and self.target.wanted.layout == switch.after and not self.options.back:
                raise RolledBackError(switched)
            return switched
        try:
            return await self._go_forward(keeper, begun)
        except (NotReadyError, NotEndedError, UnverifiedError) as error:
            why = error.what
        except HalfDoneError as error:
            if isinstance(error.__cause__, UnreachableError) or _require_switch(keeper.state).stage is Stage.PRUNE:
                raise
            why = error.problems[0].what
        raise RolledBackError(await self._roll_back(keeper, why, loop.time()))

    # ---- forward

    async def _go_forward(self, keeper: StateKeeper, begun: float) -> Switched:
        move = await self._plan_forward(keeper.state)
        await self._drain(keeper, move)
        left = await self._stop(keeper, move)
        await self._enter(keeper, Stage.APPLY, move)
        named = {step.key for step in (*move.steps, *move.pruned) if step.verb is not Verb.LABEL}
        await keeper.write(
            replace(keeper.state, layout=self.target.wanted.layout, objects=keeper.state.objects | named)
        )
        await apply_move(self.cluster, move, self.target.snapshot, force=self.options.force)
        await self._enter(keeper, Stage.VERIFY, move)
        forecast = self._forecast()
        limit_s = forecast.limit_s if self.options.within_s is None else self.options.within_s
        await wait_until_ready(
            self.cluster,
            move.objects,
            within_s=limit_s,
            expected_s=forecast.expected_s,
            report=lambda unready: self._note_unready(unready, is_back=False),
        )
        await wait_until_verified(self.cluster, self.target.wanted, within_s=_VERIFIED_WITHIN_S)
        await self._enter(keeper, Stage.PRUNE, move)
        await run_steps(self.cluster, move.pruned, self.target.snapshot)
        state = replace(keeper.state, objects=list_remembered(self.target) | set(move.kept))
        switch = _require_switch(state)
        closed = await self._finish(keeper, state)
        seconds = asyncio.get_running_loop().time() - begun
        return Switched(
            before=switch.before,
            layout=self.target.wanted.layout,
            seconds=seconds,
            kept=tuple(map(str, move.kept)),
            left=left,
            still_closed=closed,
        )

    async def _drain(self, keeper: StateKeeper, move: Move) -> None:
        snapshot = await self._observe(keeper.state)
        closed = list_closed_services(move.stopped, snapshot)
        switch = _require_switch(keeper.state)
        await self._enter(keeper, Stage.DRAIN, move, closed=tuple(dict.fromkeys((*switch.closed, *closed))))
        if self.queue is None or not move.stopped:
            return
        try:
            await self._close(keeper, self.queue, move, snapshot, closed)
        except CorralError as error:  # a server that is away gives no tasks out
            if error.kind is not Kind.UNAVAILABLE:
                raise
            self._note(Stage.DRAIN, f"the Corral server has gone away: {error.what}")

    async def _close(
        self, keeper: StateKeeper, queue: Queue, move: Move, snapshot: Snapshot, closed: Sequence[str]
    ) -> None:
        """Close the slots of workloads that stop, and wait for their tasks."""
        by_url = list_instances_by_url(self.target.wanted.installation.cluster, closed)
        pods = {pod["metadata"]["name"] for workload in move.stopped for pod in list_pods_of(workload, snapshot)}
        drained = await close_slots(queue, pods, by_url)
        if drained:
            switch = _require_switch(keeper.state)
            names = tuple(dict.fromkeys((*switch.drained, *drained)))
            await keeper.write(put_switch(keeper.state, replace(switch, drained=names)))
        if not self.options.now:
            await wait_until_idle(queue, {*pods, *by_url}, self._note_busy)

    async def _stop(self, keeper: StateKeeper, move: Move, *, is_back: bool = False) -> tuple[LeftVolume, ...]:
        """Scale workloads down, wait until their pods and GPUs are gone, and let go of claims that are made anew."""
        await self._enter(keeper, Stage.SCALE, move, is_back=is_back)
        await scale_down(self.cluster, move.stopped)
        await self._enter(keeper, Stage.FREE, move, is_back=is_back)
        await wait_for_end(self.cluster, move.stopped)
        return move.storage.left

    # ---- back

    async def _roll_back(self, keeper: StateKeeper, why: str, begun: float) -> Switched:
        """Apply again what was there before, whether it gets ready or not; `why` is empty where it was asked for."""
        switch = replace(_require_switch(keeper.state), is_back=True, why=why)
        await keeper.write(put_switch(keeper.state, switch))
        move = await self._plan_back(keeper.state)
        left = await self._stop(keeper, move, is_back=True)
        await self._enter(keeper, Stage.APPLY, move, is_back=True)
        named = {step.key for step in move.steps}
        layout = switch.before
        await keeper.write(replace(keeper.state, layout=layout, objects=keeper.state.objects | named))
        await apply_move(self.cluster, move, self.target.snapshot, force=True)
        await self._enter(keeper, Stage.VERIFY, move, is_back=True)
        forecast = self._forecast()
        trouble = ""
        try:
            await wait_until_ready(
                self.cluster,
                move.objects,
                within_s=max(forecast.limit_s, self.options.within_s or 0.0),
                expected_s=forecast.expected_s,
                report=lambda unready: self._note_unready(unready, is_back=True),
            )
        except NotReadyError as error:
            trouble = error.what
        await self._enter(keeper, Stage.PRUNE, move, is_back=True)
        await run_steps(self.cluster, move.pruned, self.target.snapshot)
        closed = await self._finish(keeper, replace(keeper.state, objects=frozenset(named | set(move.kept))))
        if trouble:
            why = "; and ".join(filter(None, (why, f"{layout} is not ready again: {trouble}")))
        return Switched(
            before=switch.after,
            layout=layout,
            seconds=asyncio.get_running_loop().time() - begun,
            is_back=True,
            why=why,
            kept=tuple(map(str, move.kept)),
            left=left,
            still_closed=closed,
        )

    # ---- looking and writing

    async def _finish(self, keeper: StateKeeper, state: State) -> tuple[str, ...]:
        """End the record of the switch, and open what was closed; gives the slots that could not be opened."""
        drained = _require_switch(state).drained
        closed = drained
        if drained and self.queue is not None:
            closed = await open_slots(self.queue, drained)
        await keeper.write(put_switch(state, None))
        return closed

    async def _enter(
        self,
        keeper: StateKeeper,
        stage: Stage,
        move: Move,
        *,
        is_back: bool = False,
        closed: tuple[str, ...] | None = None,
    ) -> None:
        """Write a stage before it begins, and report it."""
        switch = replace(_require_switch(keeper.state), stage=stage)
        if closed is not None:
            switch = replace(switch, closed=closed)
        await keeper.write(put_switch(keeper.state, switch))
        self.report(self._describe(stage, move, is_back=is_back))

    def _describe(self, stage: Stage, move: Move, *, is_back: bool) -> Progress:
        return Progress(
            number=STAGES.index(stage) + 1,
            of=len(STAGES),
            stage=stage,
            is_back=is_back,
            what=self._describe_stage(stage, move),
        )

    def _describe_stage(self, stage: Stage, move: Move) -> str:
        names = ", ".join(ObjectKey.read(workload).name for workload in move.stopped)
        match stage:
            case Stage.DRAIN if self.queue is None:
                return "no Corral server was reached: no slot is closed, and no task is waited for"
            case Stage.DRAIN:
                return f"slots of {names}" if names else "no slot vanishes"
            case Stage.SCALE:
                return f"{names} to 0" if names else "nothing stops"
            case Stage.FREE:
                return f"until the pods of {names} are gone" if names else "nothing to wait for"
            case Stage.APPLY:
                anew = ", ".join(key.name for key in move.storage.claims)
                return f"{len(move.steps)} objects" + (f"; claims made anew: {anew}" if anew else "")
            case Stage.VERIFY:
                return f"until all are ready, forecast {format_duration(self._forecast().expected_s)}"
            case Stage.PRUNE:
                return f"{len(move.pruned)} objects" if move.pruned else "nothing is left over"

    def _note_busy(self, busy: Sequence[SlotSeen]) -> None:
        what = ", ".join(f"{slot.id}: {_count(slot.tasks, 'task')} to its end" for slot in busy)
        self._note(Stage.DRAIN, what)

    def _note(self, stage: Stage, what: str, *, is_back: bool = False) -> None:
        number = STAGES.index(stage) + 1
        self.report(Progress(number=number, of=len(STAGES), stage=stage, is_back=is_back, what=what))

    def _note_unready(self, unready: Sequence[Unready], *, is_back: bool) -> None:
        for workload in unready:
            self._note(Stage.VERIFY, str(workload), is_back=is_back)

    def _make_switch(self, state: State) -> Switch:
        begun_at = datetime.now(UTC).isoformat(timespec="seconds")
        return Switch(before=state.layout or "", after=self.target.wanted.layout, begun_at=begun_at)

    def _forecast(self) -> StartForecast:
        return forecast_start(self.target.wanted.installation, self.target.snapshot)

    def _list_namespaces(self, state: State) -> list[str]:
        names = {*self.target.wanted.namespaces, *(key.namespace for key in state.objects if key.namespace)}
        return sorted(names)

    async def _observe(self, state: State) -> Snapshot:
        kinds = {*self.target.wanted.kinds, *(key.kind for key in state.objects), *OBSERVED, POD, VOLUME}
        return await self.cluster.observe(sorted(kinds), self._list_namespaces(state))

    async def _plan_forward(self, state: State) -> Move:
        snapshot = join_snapshots(self.target.snapshot, await self._observe(state))
        plan = plan_deployment(self.target.wanted, snapshot, state, force=self.options.force)
        owned = list_owned(snapshot, state, self.target.wanted.namespaces)
        objects = [step.value for step in plan.steps if step.verb is Verb.APPLY]
        changed = await find_changed(self.cluster, objects, snapshot)
        return plan_forward(plan, snapshot, owned, changed)

    async def _plan_back(self, state: State) -> Move:
        snapshot = await self._observe(state)
        values = read_snapshot(state)
        owned = list_owned(snapshot, state, self._list_namespaces(state))
        return plan_back(values, snapshot, owned, await find_changed(self.cluster, values, snapshot))

    async def _find_obstacles(self, move: Move) -> tuple[Problem, ...]:
        near = await self.cluster.observe(sorted({*OBSERVED, *self.target.wanted.kinds}), self.target.wanted.namespaces)
        everywhere = await self.cluster.observe(OBSERVED_EVERYWHERE)
        snapshot = join_snapshots(join_snapshots(self.target.snapshot, near), everywhere)
        return find_obstacles(self.target.wanted, snapshot, move)

    async def _check(self, move: Move) -> None:
        """Have the server check all steps; of claims and volumes that are made anew, that the old ones can go."""
        anew = (*move.storage.claims, *move.storage.volumes)
        steps = [step for step in (*move.steps, *move.pruned) if step.key not in anew]
        steps += [Step(verb=Verb.DELETE, key=key) for key in anew]
        await check_steps(self.cluster, steps, self.target.snapshot, force=self.options.force)


def _require_switch(state: State) -> Switch:
    switch = read_switch(state)
    assert switch is not None, "a switch is under way while its stages run"
    return switch


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
