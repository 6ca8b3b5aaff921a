"""An outbox on a real database, whose server leads, with waits that tests can wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from builders import a_submission, a_task
from corral.cluster.receivers import Webhooks
from corral.cluster.values import Cluster, Node
from corral.notifications.notifier import Notifier, Waits
from corral.requests import BatchFields
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.store.leading import take_lead
from corral.tasks.store.pool import Connection, Pool, connect
from corral.tasks.store.submitting import submit
from corral.tasks.values import TaskSpec
from doubles.webhook_receiver import SECRET, Receiver, receiving

QUICK = Waits(
    poll_s=0.02, first_s=0.1, longest_s=0.4, webhook_s=1.0, begins_after_s=0.0, ends_after_s=0.1, look_every_s=0.05
)


class Post:
    """An outbox that is started, killed and started again by the test."""

    def __init__(self, pool: Pool, lead: Connection, epoch: int, folder: Path) -> None:
        self.pool = pool
        self.lead = lead
        self.epoch: int | None = epoch
        self.cluster = Cluster(
            name="desk",
            nodes=(Node(name="desk"),),
            webhooks=Webhooks(secret_from="SECRET", allow_private=("127.0.0.0/8",)),
        )
        self.environ = {"SECRET": SECRET}
        self.artifacts = ArtifactStore(folder / "artifacts")
        self.artifacts.prepare()
        self.board = Board()
        self.alarms = Alarms()
        self.is_installed = True
        self.now = datetime(2026, 11, 29, 12, tzinfo=UTC)
        self._running: asyncio.Task[None] | None = None

    def start(self, waits: Waits = QUICK) -> None:
        """Start sending."""
        notifier = Notifier(
            self.pool,
            self.artifacts,
            self.board,
            self.alarms,
            cluster=lambda: self.cluster,
            epoch=lambda: self.epoch,
            environ=self.environ,
            is_installed=lambda: self.is_installed,
            waits=waits,
            now=lambda: self.now,
        )
        self._running = asyncio.create_task(notifier.run())

    async def kill(self) -> None:
        """Stop at once, whatever is under way."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    def use(self, **webhooks: object) -> None:
        """Change the webhooks of the cluster file."""
        self.cluster = replace(self.cluster, webhooks=replace(self.cluster.webhooks, **webhooks))

    async def submit(self, *tasks: TaskSpec, **fields: object) -> tuple[int, tuple[int, ...]]:
        """Submit a batch, and return its id and those of its tasks."""
        submission = replace(
            a_submission(*(tasks or (a_task("one"),))),
            batch=BatchFields.model_validate({"name": "portraits", **fields}),
        )
        accepted = await submit(self.pool, submission, queued_limits={})
        assert accepted.batch is not None
        return accepted.batch, accepted.tasks

    async def wait_until(self, query: str, *, within_s: float = 20) -> None:
        """Wait until a query of the database is true."""
        async with asyncio.timeout(within_s):
            while not await self.pool.fetchval(query):  # noqa: ASYNC110 (another writes it)
                await asyncio.sleep(0.02)


@pytest.fixture
async def post(database_url: str, pool: Pool, tmp_path: Path) -> AsyncIterator[Post]:
    lead = await connect(database_url)
    epoch = await take_lead(lead)
    assert epoch is not None
    post = Post(pool, lead, epoch, tmp_path)
    yield post
    await post.kill()
    lead.terminate()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def other() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver
