"""`corral.work.Engine` in front of a server that Corral runs for an instance: started when it is needed, ended whole.

The protocol is the adapter's, as for a server by URL; here is only the server's life. A task that needs the server
starts it and waits; after a time without work it is stopped. One that ended by itself is started by the next task,
later and later, and after some failures in a row no more (`corral.processes.restarts`).

Belongs here: when the server is started and stopped, what its state means for the slot.
Does not belong here: how it is started (`starting`), what is asked of it (the adapter).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from statistics import median
from typing import Protocol
from uuid import UUID

import structlog

from corral.engines.servers.recipe import Recipe
from corral.errors import CorralError
from corral.processes.server import ServerLateError, ServerOutOfUseError
from corral.units import Bytes
from corral.work import (
    CanUnload,
    Endpoint,
    Engine,
    EngineError,
    EngineUnavailableError,
    HasEndpoint,
    HasLanes,
    HostedModel,
    KeepsJobs,
    ListsModels,
    NotRunningError,
    Produced,
    Reporter,
    Resident,
    Use,
    Work,
)

_KEPT_STARTS = 5
_READ_LOG = "read all that it printed with `corral slots logs SLOT`"
_END_S = 1.0
"""Between a connection that broke and the end of its process, which says more."""

_log = structlog.get_logger(__name__)


class OwnServer(Protocol):
    """A server that can be started and stopped; a process here, and elsewhere whatever can do these."""

    @property
    def running(self) -> bool:
        """Whether it runs and was ready."""
        ...

    @property
    def pid(self) -> int | None:
        """The process here that all of it descends from; None where it does not run, or elsewhere."""
        ...

    async def check_startable(self) -> None:
        """Return when it runs or could be started now. Raises: CorralError."""
        ...

    async def ensure_ready(self, *, within_s: float, waiting: Callable[[float], None]) -> str:
        """Return its URL, after starting it where it does not run; `waiting` is called with the seconds since then.

        Raises: CorralError, OSError.
        """
        ...

    async def wait(self) -> None:
        """Return when it has ended; at once where it does not run."""
        ...

    def describe_end(self) -> str:
        """Say how it ended last, with its last lines."""
        ...

    def forgive(self) -> None:
        """Forget that starts failed."""
        ...

    def kill(self) -> None:
        """End it at once; `stop` must follow."""
        ...

    async def stop(self) -> None:
        """End it, and all that it started."""
        ...


class InstanceServer:
    """The server of one instance, and the adapter that talks to it while it runs."""

    def __init__(
        self,
        engine: str,
        recipe: Recipe,
        server: OwnServer,
        make_adapter: Callable[[str], Engine],
        *,
        measure_memory: Callable[[int | None], Bytes | None],
    ) -> None:
        """`make_adapter` takes the URL, which can be another at each start.

        `measure_memory` takes the process that all of the server descends from, and returns what they hold of the
        slot's memory, None where that is unknown; it blocks.
        """
        self._engine = engine
        self._recipe = recipe
        self._server = server
        self._make_adapter = make_adapter
        self._measure_memory = measure_memory
        self._turn = asyncio.Lock()
        """Held while the server starts or stops."""
        self._adapter: Engine | None = None
        self._url = ""
        self._users = 0
        self._resting: asyncio.Task[None] | None = None
        self._reviving: asyncio.Task[None] | None = None
        self._closed = False
        self._is_wanted = recipe.always
        """Whether it is started without work; one that was stopped for its memory waits for work."""
        self._starts: deque[float] = deque(maxlen=_KEPT_STARTS)
        self._waited: dict[UUID, float] = {}
        """The attempts that waited for a start, and their seconds."""

    @property
    def name(self) -> str:
        """The engine's word in tasks and in the cluster file."""
        return self._engine

    @property
    def title(self) -> str:
        """Its name for people: `comfyui desk`."""
        return self._recipe.title

    @property
    def url(self) -> str | None:
        """Where it answers; None while it does not run."""
        return self._url if self._server.running else None

    @property
    def is_closed(self) -> bool:
        """Whether it is not started again."""
        return self._closed

    async def run(self, work: Work, report: Reporter) -> Produced:
        """Run the task, after starting the server where it does not run. Raises: EngineError."""

        def show_wait(seconds: float) -> None:
            report.progress(None, f"starting {self._recipe.title}, {seconds:.0f} s")

        began = asyncio.get_running_loop().time()
        ran = self._server.running
        async with self.use(waiting=show_wait) as adapter:
            if not ran:
                self._waited[work.attempt] = asyncio.get_running_loop().time() - began
            try:
                return await self._run_while_it_lives(adapter, work, report)
            except BaseException:
                self._waited.pop(work.attempt, None)  # asked for only of those that succeed
                raise

    @asynccontextmanager
    async def reach(
        self, model: str | None, note: Callable[[str], None], devices: tuple[str, ...] = (), use: Use = Use.WRITING
    ) -> AsyncGenerator[Endpoint]:
        """Lend the server, started where it does not run; it does not stop meanwhile. Raises: EngineError."""

        def show_wait(seconds: float) -> None:
            note(f"starting {self._recipe.title}, {seconds:.0f} s")

        async with self.use(waiting=show_wait) as adapter:
            assert isinstance(adapter, HasEndpoint), "every engine with instances has one; a test holds that"
            async with adapter.reach(model, note, devices, use) as endpoint:
                yield endpoint

    @asynccontextmanager
    async def use(self, *, waiting: Callable[[float], None] = lambda _: None) -> AsyncGenerator[Engine]:
        """Lend the adapter of the running server, which does not stop for being idle meanwhile.

        `waiting` is called with the seconds since a start. Raises: EngineUnavailableError.
        """
        async with self._turn:
            adapter = await self._ensure_ready(waiting)
            self._users += 1
        try:
            yield adapter
        finally:
            self._users -= 1
            self._rest()

    @property
    def start_s(self) -> float | None:
        """Seconds that a start takes, the median of the last; 0 while it runs, None before the first."""
        if self._server.running:
            return 0.0
        return median(self._starts) if self._starts else None

    def forgive(self) -> None:
        """Forget that starts failed: the next task starts it at once."""
        self._server.forgive()

    def take_waited(self, attempt: UUID) -> float:
        """Return the seconds that an attempt waited for a start, and forget them; 0 where the server ran."""
        return self._waited.pop(attempt, 0.0)

    async def resident(self) -> tuple[Resident, ...]:
        """Return what the running server has in memory: its models, and itself where it says of none.

        The memory of a model that the server does not report is that of all its processes, as far as it is measured;
        a server whose memory is unknown is there to be stopped for a task that gets the whole device.
        """
        adapter = self.find_adapter()
        if adapter is None:
            return ()
        held = await adapter.resident()
        if len(held) > 1 or (held and held[0].memory is not None):
            return held
        memory = await asyncio.to_thread(self._measure_memory, self._server.pid)
        return tuple(replace(resident, memory=memory) for resident in held) or (
            Resident(model=self.title, memory=memory),
        )

    async def count_lanes(self) -> int | None:
        """Return how many requests the running server does at once, where it says so. Raises: EngineError."""
        adapter = self.find_adapter()
        return await adapter.count_lanes() if isinstance(adapter, HasLanes) else None

    async def check(self) -> None:
        """Return when the server works, or could be started. Raises: EngineUnavailableError."""
        if self._turn.locked():  # it starts or stops, which can take minutes; what fails then is reported by that
            return
        adapter = self.find_adapter()
        if adapter is not None:
            try:
                await adapter.check()
                return
            except EngineUnavailableError as error:
                if not await self._ends_soon():
                    raise EngineUnavailableError(error.what, where=error.where, hint=_READ_LOG) from error
        try:
            await self._server.check_startable()
        except CorralError as error:
            raise self._translate(error) from error
        if self._is_wanted and self._reviving is None:
            self._reviving = asyncio.create_task(self._revive(), name=f"start-{self._recipe.title}")

    async def release(self) -> None:
        """Let the server give its memory up: it unloads its models, or it is stopped where it cannot, or holds none."""
        adapter = self.find_adapter()
        if adapter is None:
            return
        if await adapter.resident() and await self._can_unload(adapter):
            await adapter.release()
            return
        async with self._turn:
            if self._users == 0:
                _log.info("server_stopped_for_its_memory", server=self.title)
                self._is_wanted = False
                await self._stop()

    async def kill(self) -> None:
        """End the server at once."""
        self._server.kill()
        await self._stop()

    async def close(self) -> None:
        """End the server for good, in order."""
        self._closed = True
        if self._reviving is not None:
            self._reviving.cancel()
        if self._turn.locked():  # it starts: that is not waited for
            self._server.kill()
        async with self._turn:
            await self._stop()

    def abandon(self, attempt: UUID, task: int) -> None:
        """End the job of a lost attempt; jobs of a server that does not run are gone."""
        adapter = self.find_adapter()
        if isinstance(adapter, KeepsJobs):
            adapter.abandon(attempt, task)

    async def _can_unload(self, adapter: Engine) -> bool:
        if self._recipe.unloads is not None:
            return self._recipe.unloads
        return await adapter.can_unload() if isinstance(adapter, CanUnload) else True

    # --- starting and stopping ---------------------------------------------------------------------------------------

    def find_adapter(self) -> Engine | None:
        """Return the adapter of the running server; None while it does not run."""
        return self._adapter if self._server.running else None

    async def _ensure_ready(self, waiting: Callable[[float], None]) -> Engine:
        """Start the server where it does not run; the caller has the turn. Raises: EngineUnavailableError."""
        if self._closed:
            raise EngineUnavailableError(f"{self._recipe.title} is closed", hint="start the server again")
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if (adapter := self.find_adapter()) is not None:
            return adapter
        await self._close_adapter()
        began = asyncio.get_running_loop().time()
        try:
            self._url = await self._server.ensure_ready(within_s=self._recipe.ready_within_s, waiting=waiting)
        except (CorralError, OSError) as error:
            raise self._translate(error) from error
        self._starts.append(asyncio.get_running_loop().time() - began)
        self._is_wanted = self._recipe.always
        _log.info("server_started", server=self._recipe.title, url=self._url)
        self._adapter = self._make_adapter(self._url)
        return self._adapter

    async def _revive(self) -> None:
        """Start a server that always runs; what goes wrong is reported by the next check."""
        try:
            with suppress(EngineUnavailableError):
                async with self._turn:
                    await self._ensure_ready(lambda _: None)
        finally:
            self._reviving = None

    def _rest(self) -> None:
        """Have the server stopped when nothing uses it for long enough."""
        idle_s = self._recipe.idle_s
        if self._users == 0 and idle_s is not None and not self._closed:
            if self._resting is not None:
                self._resting.cancel()
            self._resting = asyncio.create_task(self._stop_when_idle(idle_s), name=f"rest-{self._recipe.title}")

    async def _stop_when_idle(self, idle_s: float) -> None:
        await asyncio.sleep(idle_s)
        async with self._turn:
            if self._users == 0:
                self._resting = None
                _log.info("idle_server_stopped", server=self._recipe.title, idle_s=idle_s)
                await self._stop()

    async def _stop(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        await self._close_adapter()
        await self._server.stop()

    async def _close_adapter(self) -> None:
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            await adapter.close()

    def _translate(self, error: CorralError | OSError) -> EngineError:
        """Turn what a start brought about into the slot's trouble, with what to do."""
        if isinstance(error, EngineError):
            return error
        if isinstance(error, OSError):
            return EngineUnavailableError(f"{self._recipe.title} cannot be started: {error}", hint="correct its `run`")
        if isinstance(error, ServerOutOfUseError):
            hint = "correct what its last lines report, then drain and resume its slot"
        elif isinstance(error, ServerLateError):
            hint = f"raise `readyWithin`, or {_READ_LOG}"
        else:
            hint = error.hint or _READ_LOG
        return EngineUnavailableError(error.what, where=error.where, hint=hint)

    # --- work --------------------------------------------------------------------------------------------------------

    async def _run_while_it_lives(self, adapter: Engine, work: Work, report: Reporter) -> Produced:
        """Run the task as long as the server lives; an adapter would wait for it to come back. Raises: EngineError."""
        running = asyncio.create_task(adapter.run(work, report))
        ended = asyncio.create_task(self._server.wait())
        try:
            await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
            raise self._describe_loss()
        except EngineUnavailableError as error:
            if await self._ends_soon():
                raise self._describe_loss() from error
            raise
        finally:
            ended.cancel()
            await self._cancel(running, adapter)

    async def _cancel(self, running: asyncio.Task[Produced], adapter: Engine) -> None:
        """Return when nothing of the work runs; where the server is gone, its connections are broken first."""
        running.cancel()
        if not self._server.running:
            await asyncio.wait({running}, timeout=_END_S)
            if self._adapter is adapter:  # else others have started the server again, and work with a new one
                await self._close_adapter()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # it was asked to stop: how it ended then does not matter

    async def _ends_soon(self) -> bool:
        """Whether its process ends now, which says more than a connection that broke."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._server.wait()
        return not self._server.running

    def _describe_loss(self) -> EngineError:
        return EngineError(f"{self._recipe.title} ended while it worked: {self._server.describe_end()}")


class ListingInstanceServer(InstanceServer):
    """As `InstanceServer`, for engines that are `corral.work.ListsModels`."""

    async def list_models(self) -> tuple[HostedModel, ...]:
        """List the models of the running server. Raises: NotRunningError, EngineError."""
        adapter = self.find_adapter()
        if not isinstance(adapter, ListsModels):
            raise NotRunningError(f"{self.title} does not run now", hint="a task that needs it starts it")
        return await adapter.list_models()
