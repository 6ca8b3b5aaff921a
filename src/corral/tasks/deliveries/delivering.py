"""Writes outputs to their folders as tasks succeed, and goes on until they are there.

Each server writes what its own artifact store has. Folders wait for each other in nothing: each has a pass of its own,
and a thread that nothing waits for at the end of the server, since a share that is gone can hold it for ever. What does
not work is tried again with growing waits: a whole folder where it cannot be written to, one task where only that is
in trouble. A server that is killed goes on after its start, by what the database says is open.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import BinaryIO

import asyncpg
import structlog

from corral.cluster.keeping import OutputFolder
from corral.errors import CorralError, Problem
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore
from corral.tasks.deliveries.writing import ShareAwayError, try_folder, write_outputs
from corral.tasks.store import deliveries
from corral.tasks.store.deliveries import Delivery
from corral.tasks.store.pool import CONNECTION_LOST, DatabaseUnavailableError, Pool
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes
from corral.wire import write_out_values

log = structlog.get_logger()

ALARM = "outputs"
_PAGE = 100
_LOST = (*CONNECTION_LOST, DatabaseUnavailableError, asyncpg.PostgresError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """The waits of deliveries, in seconds; tests shorten them."""

    poll_s: float = 2.0
    """Between two looks for tasks that have succeeded."""
    first_s: float = 1.0
    """Before the next try of what did not work; doubled each time."""
    longest_s: float = 60.0
    silent_s: float = 60.0
    """A share that has taken or given no MiB for so long counts as away."""


@dataclass(slots=True)
class _Trouble:
    """What did not work, and when it is tried again."""

    problem: Problem
    wait_s: float
    again_at: float


@dataclass(slots=True)
class _Share:
    """One folder that outputs are written to."""

    root: str
    passing: asyncio.Task[None] | None = None
    working: bool = False
    """Whether its thread is at work; a second one is never started."""
    moved_at: float = 0.0
    """When the thread last took or gave a MiB."""
    trouble: _Trouble | None = None
    tasks: dict[int, _Trouble] = field(default_factory=dict[int, _Trouble])


class Deliverer:
    """The outputs that this server writes to folders; used by one event loop."""

    def __init__(
        self,
        pool: Pool,
        artifacts: ArtifactStore,
        folders: Callable[[], Sequence[OutputFolder]],
        alarms: Alarms,
        *,
        waits: Waits = Waits(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folders` are those that the cluster file in effect allows."""
        self._pool = pool
        self._artifacts = artifacts
        self._folders = folders
        self._alarms = alarms
        self._waits = waits
        self._monotonic = monotonic
        self._shares: dict[str, _Share] = {}

    def find_problem(self, root: str) -> Problem | None:
        """Return why nothing can be written below a folder now; None when it can, or was not tried."""
        share = self._shares.get(root)
        return None if share is None or share.trouble is None else share.trouble.problem

    async def run(self) -> None:
        """Write what is open, for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    roots = await deliveries.list_roots(self._pool)
                except _LOST as error:
                    log.warning("deliveries_wait_for_the_database", error=str(error) or type(error).__name__)
                    roots = ()
                else:
                    self._forget(roots)
                for root in roots:
                    share = self._shares.setdefault(root, _Share(root))
                    self._note_silence(share)
                    if self._is_due(share):
                        share.passing = group.create_task(self._pass(share), name=f"outputs-{root}")
                self._show()
                await asyncio.sleep(self._waits.poll_s)

    def _is_due(self, share: _Share) -> bool:
        is_busy = share.working or (share.passing is not None and not share.passing.done())
        return not is_busy and (share.trouble is None or share.trouble.again_at <= self._monotonic())

    def _forget(self, roots: Sequence[str]) -> None:
        """Forget folders below which nothing is open any more."""
        for root in [root for root, share in self._shares.items() if root not in roots and not share.working]:
            del self._shares[root]

    def _note_silence(self, share: _Share) -> None:
        silent_s = self._monotonic() - share.moved_at
        if share.working and silent_s > self._waits.silent_s and share.trouble is None:
            what = f"it has not answered for {silent_s:.0f} s"
            self._note_away(share, Problem(code=ShareAwayError.code, what=what, where=share.root, hint="mount it anew"))

    def _show(self) -> None:
        away = [share for share in self._shares.values() if share.trouble is not None]
        stuck = [trouble for share in self._shares.values() for trouble in share.tasks.values()]
        problems = [
            *(share.trouble.problem for share in away if share.trouble),
            *(trouble.problem for trouble in stuck),
        ]
        if not problems:
            self._alarms.clear(ALARM)
            return
        first = problems[0]
        more = f", and {len(problems) - 1} more like it" if problems[1:] else ""
        self._alarms.ring(ALARM, f"outputs wait for {first.where}: {first.what}{more}", hint=first.hint)

    # --- one pass ----------------------------------------------------------------------------------------------------

    async def _pass(self, share: _Share) -> None:
        """Write everything below one folder that is open, once."""
        folder = next((folder for folder in self._folders() if folder.path == share.root), None)
        if folder is None:
            hint = "add it again and run `corral reload`"
            what = "the cluster file does not allow it any more (`outputFolders`)"
            self._note_away(share, Problem(code=ShareAwayError.code, what=what, where=share.root, hint=hint))
            return
        after, seen = 0, set[int]()
        try:
            while page := await deliveries.list_open(self._pool, share.root, after=after, limit=_PAGE):
                for delivery in page:
                    resting = share.tasks.get(delivery.task)
                    if resting is None or resting.again_at <= self._monotonic():
                        await self._deliver(share, folder, delivery)
                after = page[-1].task
                seen.update(delivery.task for delivery in page)
            share.tasks = {task: trouble for task, trouble in share.tasks.items() if task in seen}
        except ShareAwayError as error:
            self._note_away(share, error.problems[0])
        except _LOST as error:  # the files are there: what is not noted is looked at again
            log.warning("deliveries_wait_for_the_database", error=str(error) or type(error).__name__)

    async def _deliver(self, share: _Share, folder: OutputFolder, delivery: Delivery) -> None:
        """Write the outputs of one task. Raises: ShareAwayError when the whole folder is in trouble."""
        where = f"{folder.path}/{delivery.path}"
        files, open_content = self._find_content(delivery)
        try:
            await self._run_in_thread(
                share,
                lambda: write_outputs(folder, delivery.path, files, open_content, lambda: self._go_on(share)),
            )
        except ShareAwayError:
            raise
        except (CorralError, OSError) as error:
            await self._run_in_thread(share, lambda: try_folder(folder))
            share.trouble = None
            problem = (
                error.problems[0]
                if isinstance(error, CorralError)
                else Problem(code="outputs.unwritable", what=error.strerror or str(error))
            )
            if problem.code == ArtifactMissingError.code:
                hint = "a server that keeps the file writes it when it leads; if none has it, retry the task"
                problem = replace(problem, hint=hint)
            problem = replace(problem, where=problem.where or where)
            share.tasks[delivery.task] = self._make_trouble(problem, share.tasks.get(delivery.task))
            log.warning("outputs_not_written", task=delivery.task, where=where, what=problem.what)
            await deliveries.note_problem(self._pool, delivery.task, problem)
            return
        share.trouble = None
        await deliveries.note_written(self._pool, delivery.task)
        log.info("outputs_written", task=delivery.task, where=where, files=len(delivery.files))

    def _find_content(self, delivery: Delivery) -> tuple[Sequence[StoredFile], Callable[[Sha256], BinaryIO]]:
        """Return the files of a task, or the one that stands for its values, and how their content is read."""
        if delivery.files or not delivery.values:
            return delivery.files, lambda sha256: self._artifacts.check(sha256).open("rb")
        name, content = write_out_values(delivery.values)
        sha256 = Sha256(hashlib.sha256(content).hexdigest())
        file = StoredFile(name=name, sha256=sha256, size=Bytes(len(content)), media_type="text/plain")
        return [file], lambda _: BytesIO(content)

    def _note_away(self, share: _Share, problem: Problem) -> None:
        if share.trouble is None:
            log.warning("output_folder_away", folder=share.root, what=problem.what)
        share.trouble = self._make_trouble(problem, share.trouble)

    def _make_trouble(self, problem: Problem, before: _Trouble | None) -> _Trouble:
        wait_s = self._waits.first_s if before is None else min(2 * before.wait_s, self._waits.longest_s)
        return _Trouble(problem, wait_s, self._monotonic() + wait_s)

    def _go_on(self, share: _Share) -> None:
        """Note from the thread that the share answers."""
        share.moved_at = self._monotonic()

    async def _run_in_thread(self, share: _Share, work: Callable[[], None]) -> None:
        """Run what can hang for ever, in a thread that no end of the process waits for."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        share.working, share.moved_at = True, self._monotonic()

        def settle(error: BaseException | None) -> None:
            share.working = False
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)

        def run() -> None:
            failure: BaseException | None = None
            try:
                work()
            except BaseException as error:  # noqa: BLE001 (it is raised where the thread is waited for)
                failure = error
            with suppress(RuntimeError):  # the server has stopped meanwhile
                loop.call_soon_threadsafe(settle, failure)

        threading.Thread(target=run, daemon=True, name="outputs").start()
        await done
