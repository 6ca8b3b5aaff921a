"""Sends what the outbox has, for as long as this server leads.

Each server that webhooks go to, and each target of notifications, has a lane of its own: one that hangs holds up
nothing but its own. In a lane messages go one after the other, and the next one of a batch only when the one before it
was taken or given up. What does not work is tried again after growing waits, for a day.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from corral.cluster.values import Cluster
from corral.errors import CorralError
from corral.hours import find_machine_zone
from corral.notifications import outbox, people, pictures, webhooks
from corral.notifications.conditions import Condition, ConditionWatch, list_conditions
from corral.notifications.deriving import derive
from corral.notifications.happenings import Happening, list_messages
from corral.notifications.outbox import Channel, Failure, Message
from corral.notifications.receiving import ReceiverGoneError, find_endpoint, find_origin, find_target, show_receiver
from corral.notifications.texts import Sender, compose
from corral.notifications.webhooks import WebhookError
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.store import story
from corral.tasks.store.leading import LeadLostError
from corral.tasks.store.pool import CONNECTION_LOST, DatabaseUnavailableError, Pool

log = structlog.get_logger()

ALARM = "notifications"
_LOST = (*CONNECTION_LOST, DatabaseUnavailableError, asyncpg.PostgresError)
_MOST_LANES = 32
"""For webhooks of batches, at the same time; further servers have their turn when a lane is done. Receivers of the
cluster file have lanes next to them, so that no user of the queue can hold them up."""
_STUCK_AFTER = 4
"""Tries: half a minute or more."""
_AT_A_TIME = 50
"""Messages of one batch that go before those of another batch to the same server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """The waits of the outbox, in seconds; tests shorten them."""

    poll_s: float = 1.0
    first_s: float = 5.0
    """Before the second try; doubled with each further one."""
    longest_s: float = 3600.0
    webhook_s: float = webhooks.TRY_S
    notify_s: float = people.TRY_S
    begins_after_s: float = 20.0
    """A condition has to last for so long before it is reported."""
    ends_after_s: float = 60.0
    look_every_s: float = 10.0
    """Between two looks at the outbox as a whole."""


class Notifier:
    """The outbox of one server; used by one event loop."""

    def __init__(
        self,
        pool: Pool,
        artifacts: ArtifactStore,
        board: Board,
        alarms: Alarms,
        *,
        cluster: Callable[[], Cluster],
        epoch: Callable[[], int | None],
        environ: Mapping[str, str] = os.environ,
        is_installed: Callable[[], bool] = people.is_installed,
        waits: Waits = Waits(),
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`cluster` is the file in effect; `epoch` is that of the lead, and None while another server leads.

        `is_installed` is whether apprise is here.
        """
        self._pool = pool
        self._artifacts = artifacts
        self._board = board
        self._alarms = alarms
        self._cluster = cluster
        self._epoch = epoch
        self._environ = environ
        self._is_installed = is_installed
        self._waits = waits
        self._monotonic = monotonic
        self._now = now
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._read_up_to = -1
        self._looked_at = float("-inf")

    async def run(self) -> None:
        """Lead whenever this server does, for ever."""
        while True:
            epoch = self._epoch()
            if epoch is not None:
                try:
                    await self._lead(epoch)
                except LeadLostError:
                    log.info("outbox_is_another_servers")
                except _LOST as error:
                    log.warning("outbox_waits_for_the_database", error=str(error) or type(error).__name__)
            await asyncio.sleep(self._waits.poll_s)

    async def _lead(self, epoch: int) -> None:
        reported = set(await outbox.list_conditions(self._pool))
        watch = ConditionWatch(
            reported, begins_after_s=self._waits.begins_after_s, ends_after_s=self._waits.ends_after_s
        )
        self._read_up_to = -1
        try:
            while self._epoch() == epoch:
                await self._read_story(epoch)
                await self._note_conditions(watch, epoch)
                await self._fill_lanes(epoch)
                await self._look_around(epoch)
                await asyncio.sleep(self._waits.poll_s)
        finally:
            for lane in self._lanes.values():
                lane.cancel()
            await asyncio.gather(*self._lanes.values(), return_exceptions=True)
            self._lanes.clear()

    # --- what becomes a message --------------------------------------------------------------------------------------

    async def _read_story(self, epoch: int) -> None:
        while await story.read_horizon(self._pool) > self._read_up_to:
            before, self._read_up_to = self._read_up_to, await derive(self._pool, epoch, self._cluster())
            if self._read_up_to == before:
                return

    async def _note_conditions(self, watch: ConditionWatch, epoch: int) -> None:
        present = tuple(list_conditions(self._alarms.raised, self._board.places))
        now = self._monotonic()
        for condition in watch.find_begun(present, now=now):
            await self._report(condition, epoch)
            watch.note_reported(condition.name)
        for name in watch.find_ended({condition.name for condition in present}, now=now):
            async with outbox.open_outbox(self._pool, epoch) as connection:
                await outbox.end_condition(connection, name)
            watch.note_ended(name)

    async def _report(self, condition: Condition, epoch: int) -> None:
        async with outbox.open_outbox(self._pool, epoch) as connection:
            since = await outbox.begin_condition(connection, condition.name)
            if since is None:
                return
            happening = Happening(
                occasion=condition.occasion,
                key=f"{condition.name}/{since.isoformat()}",
                at=since,
                data=condition.data,
            )
            await outbox.add(connection, tuple(list_messages(happening, self._cluster())))

    # --- lanes -------------------------------------------------------------------------------------------------------

    async def _fill_lanes(self, epoch: int) -> None:
        """Start a lane for each receiver for which something is due and none is under way."""
        for name, lane in [*self._lanes.items()]:
            if lane.done():
                del self._lanes[name]
                lane.result()
        cluster = self._cluster()
        by_lane: defaultdict[str, list[Message]] = defaultdict(list)
        for message in await outbox.list_heads(self._pool):
            by_lane[f"{message.channel} {find_origin(message, cluster)}"].append(message)
        for name, heads in by_lane.items():
            self._start_lane(name, lambda heads=heads: self._run_webhooks(heads, epoch))
        for target in await outbox.list_due_targets(self._pool):
            self._start_lane(f"{Channel.NOTIFY} {target}", lambda target=target: self._notify(target, epoch))

    def _start_lane(self, name: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
        of_batches = [lane for lane in self._lanes if lane.startswith(Channel.BATCH_WEBHOOK)]
        is_full = name.startswith(Channel.BATCH_WEBHOOK) and len(of_batches) >= _MOST_LANES
        if name not in self._lanes and not is_full:
            self._lanes[name] = asyncio.create_task(_end_with_lead(run()), name=f"lane {name}")

    async def _run_webhooks(self, heads: Sequence[Message], epoch: int) -> None:
        for head in heads:
            message: Message | None = head
            for _ in range(_AT_A_TIME):
                if message is None or not await self._send_webhook(message, epoch):
                    break
                message = await outbox.find_next(self._pool, message)

    async def _send_webhook(self, message: Message, epoch: int) -> bool:
        """Try one message; return whether it was taken."""
        wait = self._compute_wait(message.tries)
        async with outbox.open_outbox(self._pool, epoch) as connection:
            if not await outbox.begin_try(connection, [message.id], wait + timedelta(seconds=self._waits.webhook_s)):
                return False
        failure: Failure | None = None
        try:
            endpoint = find_endpoint(message, self._cluster(), self._environ)
            await webhooks.send(
                endpoint.url,
                f"msg_{message.message.hex}",
                webhooks.make_body(message),
                endpoint.secrets,
                allowed=endpoint.allowed,
                try_s=self._waits.webhook_s,
            )
        except WebhookError as error:
            failure = Failure(what=error.what, wait=max(wait, error.wait or wait), final=error.final)
        except CorralError as error:
            failure = _describe(error, wait)
        await self._note([message], failure, epoch)
        return failure is None

    async def _notify(self, name: str, epoch: int) -> None:
        """Send what waits for a target as one message, unless its hours are quiet."""
        messages = await outbox.list_bundle(self._pool, name)
        if not messages:
            return
        wait = self._compute_wait(max(message.tries for message in messages))
        failure: Failure | None = None
        try:
            target = find_target(name, self._cluster())
            if target.quiet_hours is not None and target.quiet_hours.is_open(self._now()):
                return
            ids = [message.id for message in messages]
            async with outbox.open_outbox(self._pool, epoch) as connection:
                if not await outbox.begin_try(connection, ids, wait + timedelta(seconds=self._waits.notify_s)):
                    return
            url = people.read_url(target, self._environ)
            cluster = self._cluster()
            zone = cluster.time_zone or find_machine_zone()
            text = compose(Sender(name=cluster.name, link=cluster.server.link, zone=zone), messages)
            picture = await pictures.find_picture(self._pool, self._artifacts, messages)
            await people.notify(url, text, picture, try_s=self._waits.notify_s, is_installed=self._is_installed)
        except CorralError as error:
            if isinstance(error, LeadLostError | DatabaseUnavailableError):
                raise
            failure = _describe(error, wait)
        await self._note(messages, failure, epoch)

    async def _note(self, messages: Sequence[Message], failure: Failure | None, epoch: int) -> None:
        ids = [message.id for message in messages]
        async with outbox.open_outbox(self._pool, epoch) as connection:
            if failure is None:
                await outbox.note_sent(connection, ids)
            else:
                await outbox.note_failure(connection, ids, failure)
        first = messages[0]
        receiver = find_origin(first, self._cluster())
        if failure is None:
            log.info("message_sent", receiver=receiver, occasion=first.occasion.value, messages=len(ids))
        else:
            tries = first.tries + 1
            log.warning("message_not_sent", receiver=receiver, messages=len(ids), tries=tries, what=failure.what)

    def _compute_wait(self, tries: int) -> timedelta:
        """Return the wait after a try that follows so many; a little random, so that not all come back at once."""
        seconds = min(self._waits.first_s * 2 ** min(tries, 30), self._waits.longest_s)
        return timedelta(seconds=seconds * random.uniform(0.9, 1.1))

    # --- the outbox as a whole ---------------------------------------------------------------------------------------

    async def _look_around(self, epoch: int) -> None:
        """Show what does not arrive, and remove what is past."""
        if self._monotonic() < self._looked_at + self._waits.look_every_s:
            return
        self._looked_at = self._monotonic()
        async with outbox.open_outbox(self._pool, epoch) as connection:
            await outbox.remove_past(connection)
        if self._cluster().notify and not self._is_installed():
            self._alarms.ring(ALARM, "no notification can be sent: apprise is not installed", hint=people.MISSING_HINT)
            return
        standings = await outbox.list_standings(self._pool)
        stuck = [standing for standing in standings if standing.pending and standing.tries >= _STUCK_AFTER]
        if not stuck:
            self._alarms.clear(ALARM)
            return
        first = stuck[0]
        more = f", and for {len(stuck) - 1} more" if stuck[1:] else ""
        what = f"{first.pending} messages wait for {show_receiver(first.receiver)}{more}: {first.problem}"
        self._alarms.ring(
            ALARM, what, hint="`corral notify list` shows what waits, `corral notify test` tries receivers now"
        )


def _describe(error: CorralError, wait: timedelta) -> Failure:
    what = f"{error.what} ({error.hint})" if error.hint else error.what
    return Failure(what=what, wait=wait, final=isinstance(error, ReceiverGoneError))


async def _end_with_lead(lane: Coroutine[None, None, None]) -> None:
    """Run a lane until it is done, or the lead or the database is lost: then the loop finds that out for itself."""
    try:
        await lane
    except LeadLostError:
        log.info("lane_ends_with_the_lead")
    except _LOST as error:
        log.warning("lane_waits_for_the_database", error=str(error) or type(error).__name__)
