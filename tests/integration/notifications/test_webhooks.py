"""Webhooks arrive signed, in order, at least once, whatever their receivers do; and they stay out of this network."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

from aiohttp import web

from builders import a_task
from corral.cluster.receivers import Occasion, WebhookReceiver
from corral.errors import Problem
from corral.slots.device_use import Program
from corral.slots.yielding import Yielding
from corral.tasks.lifecycle import GivenUp
from corral.tasks.store.deadlines import note_missed, read_open_deadlines
from corral.tasks.store.leading import take_lead
from corral.tasks.store.pool import connect
from corral.tasks.store.transitions import TaskChange, apply
from doubles.queue_life import fail, succeed
from doubles.slots_shown import a_place_view
from doubles.webhook_receiver import Receiver

from .conftest import QUICK, Post

ALL_SENT = "select not exists (select from outbox where sent_at is null)"


async def test_a_batch_with_a_webhook_reports_its_failures_and_then_its_end(post: Post, receiver: Receiver) -> None:
    batch, (first, second, third) = await post.submit(
        a_task("a"), a_task("b"), a_task("c"), webhook=receiver.url, labels={"project": "aurora"}
    )
    post.start()
    await fail(post.pool, first)
    await fail(post.pool, second)
    await succeed(post.pool, third)
    await receiver.wait_for(lambda seen: len(seen.taken) == 3)
    assert receiver.list_taken() == [("task.failed", first), ("task.failed", second), ("batch.ended", batch)]
    failed, ended = receiver.taken[0][1], receiver.taken[-1][1]["data"]
    assert failed["data"]["error"]["code"] == "engine.task_invalid"
    assert failed["timestamp"].endswith("Z")
    assert {key: ended[key] for key in ("succeeded", "failed", "cancelled", "task_count", "name", "owner")} == {
        "succeeded": 1,
        "failed": 2,
        "cancelled": 0,
        "task_count": 3,
        "name": "portraits",
        "owner": "ada",
    }
    assert ended["labels"] == {"project": "aurora"}
    assert ended["duration_s"] >= 0


async def test_a_batch_without_a_webhook_sends_none(post: Post, receiver: Receiver) -> None:
    await post.submit(a_task("a"))
    _, (task,) = await post.submit(a_task("a"), webhook=receiver.url)
    post.start()
    await succeed(post.pool, task)
    await receiver.wait_for(lambda seen: len(seen.taken) == 1)
    assert await post.pool.fetchval("select count(*) from outbox") == 1


async def test_what_a_failing_receiver_does_not_take_is_sent_again_under_the_same_id_in_order(
    post: Post, receiver: Receiver
) -> None:
    answers = iter((500, 503, 302))

    def answer(_: object) -> web.Response | None:
        status = next(answers, None)
        return None if status is None else web.Response(status=status, headers={"Location": "http://127.0.0.1:1/"})

    receiver.answer = answer
    batch, (first, second) = await post.submit(a_task("a"), a_task("b"), webhook=receiver.url)
    post.start()
    await fail(post.pool, first)
    await succeed(post.pool, second)
    await receiver.wait_for(lambda seen: len(seen.taken) == 2)
    assert receiver.list_taken() == [("task.failed", first), ("batch.ended", batch)]
    assert len({name for name, _ in receiver.arrived[:4]}) == 1
    assert len({str(message) for _, message in receiver.arrived[:4]}) == 1


async def test_a_redirect_is_not_followed_and_says_so(post: Post, receiver: Receiver, other: Receiver) -> None:
    receiver.answer = lambda _: web.Response(status=307, headers={"Location": other.url})
    _, (task,) = await post.submit(webhook=receiver.url)
    post.start()
    await succeed(post.pool, task)
    await post.wait_until("select bool_or(tries > 1 and problem like '%redirects are not followed') from outbox")
    assert not other.arrived


async def test_a_receiver_that_hangs_holds_up_no_other(post: Post, receiver: Receiver, other: Receiver) -> None:
    receiver.hangs = True
    hanging = [await post.submit(webhook=receiver.url) for _ in range(40)]
    _, (task,) = await post.submit(webhook=other.url)
    post.start()
    for _, (waiting,) in hanging:
        await succeed(post.pool, waiting)
    await receiver.wait_for(lambda seen: len(seen.arrived) == 1)
    await succeed(post.pool, task)
    async with asyncio.timeout(5):
        await other.wait_for(lambda seen: len(seen.taken) == 1)
    assert len(receiver.arrived) < 10  # one at a time, for a second each


async def test_users_whose_receivers_hang_hold_up_no_receiver_of_the_file(post: Post, receiver: Receiver) -> None:
    post.use(receivers=(WebhookReceiver(name="ci", url=receiver.url, when=(Occasion.BATCH_ENDED,)),))
    async with AsyncExitStack() as stack:
        batches: list[int] = []
        for _ in range(40):  # more servers than lanes for batches
            server = await asyncio.start_server(lambda *_: asyncio.sleep(3600), "127.0.0.1", 0)
            stack.callback(server.close)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            batch, (task,) = await post.submit(webhook=url)
            batches.append(batch)
            await succeed(post.pool, task)
        post.start(replace(QUICK, webhook_s=20.0))
        await receiver.wait_for(lambda seen: len(seen.taken) == len(batches))
    assert receiver.list_taken() == [("batch.ended", batch) for batch in batches]


async def test_a_receiver_that_is_gone_is_given_up_at_once(post: Post, receiver: Receiver) -> None:
    receiver.answer = lambda _: web.Response(status=410)
    _, (task,) = await post.submit(webhook=receiver.url)
    post.start()
    await succeed(post.pool, task)
    await post.wait_until("select bool_or(given_up_at is not null) from outbox")
    assert len(receiver.arrived) == 1


async def test_what_is_a_day_old_is_tried_once_more_and_given_up(post: Post, receiver: Receiver) -> None:
    receiver.answer = lambda _: web.Response(status=500)
    _, (task,) = await post.submit(webhook=receiver.url)
    post.start()
    await succeed(post.pool, task)
    await receiver.wait_for(lambda seen: len(seen.arrived) == 1)
    await post.pool.execute("update outbox set created_at = now() - interval '25 hours'")
    await post.wait_until("select bool_or(given_up_at is not null) from outbox")


async def test_nothing_goes_inside_the_network_by_address_or_by_name(post: Post, receiver: Receiver) -> None:
    post.use(allow_private=())
    port = receiver.url.rpartition(":")[2]
    hosts = ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f000001")
    tasks = [(await post.submit(webhook=f"http://{host}:{port}"))[1][0] for host in hosts]
    post.start()
    for task in tasks:
        await succeed(post.pool, task)
    await post.wait_until("select count(*) = 4 from outbox where problem is not null")
    problems = {row["problem"] for row in await post.pool.fetch("select problem from outbox")}
    assert all("is inside this network" in problem for problem in problems), problems
    assert not receiver.arrived


async def test_a_receiver_of_the_file_gets_every_batch_with_a_secret_of_its_own(post: Post, receiver: Receiver) -> None:
    receiver.secret = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
    post.environ["CI"] = receiver.secret
    ci = WebhookReceiver(name="ci", url=receiver.url, secret_from="CI", when=(Occasion.BATCH_ENDED,))
    post.use(secret_from=None, receivers=(ci,))
    batch, (first, second) = await post.submit(a_task("a"), a_task("b"))
    post.start()
    await fail(post.pool, first)
    await succeed(post.pool, second)
    await receiver.wait_for(lambda seen: len(seen.taken) == 1)
    assert receiver.list_taken() == [("batch.ended", batch)]


async def test_a_missing_secret_is_named_and_the_message_is_sent_once_it_is_there(
    post: Post, receiver: Receiver
) -> None:
    del post.environ["SECRET"]
    _, (task,) = await post.submit(webhook=receiver.url)
    post.start()
    await succeed(post.pool, task)
    await post.wait_until("select bool_or(problem like 'the environment variable SECRET is not set%') from outbox")
    post.environ["SECRET"] = receiver.secret
    await receiver.wait_for(lambda seen: len(seen.taken) == 1)
    await post.wait_until(ALL_SENT)


async def test_while_a_secret_is_replaced_both_sign(post: Post, receiver: Receiver) -> None:
    post.environ["SECRET"] = f"whsec_{'QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB'} {receiver.secret}"
    _, (task,) = await post.submit(webhook=receiver.url)
    post.start()
    await succeed(post.pool, task)
    await receiver.wait_for(lambda seen: len(seen.taken) == 1)


async def test_a_message_that_was_cut_off_is_sent_again(post: Post, receiver: Receiver) -> None:
    receiver.hangs = True
    batch, (task,) = await post.submit(webhook=receiver.url)
    post.start()
    await succeed(post.pool, task)
    await receiver.wait_for(lambda seen: len(seen.arrived) == 1)
    await post.kill()
    receiver.hangs = False
    post.start()
    await receiver.wait_for(lambda seen: len(seen.taken) == 1)
    assert receiver.list_taken() == [("batch.ended", batch)]
    assert receiver.arrived[0][0] == receiver.taken[0][0]


async def test_a_server_that_leads_no_more_writes_nothing(post: Post, receiver: Receiver, database_url: str) -> None:
    receiver.hangs = True
    _, (task,) = await post.submit(webhook=receiver.url)
    post.start()
    await succeed(post.pool, task)
    await receiver.wait_for(lambda seen: len(seen.arrived) == 1)
    post.lead.terminate()
    other = await connect(database_url)
    while await take_lead(other) is None:  # noqa: ASYNC110 (PostgreSQL frees the lock when it notices)
        await asyncio.sleep(0.02)
    receiver.hangs = False
    await asyncio.sleep(1.5)  # longer than the try lasts: what came of it is not written
    row = await post.pool.fetchrow("select tries, problem, sent_at from outbox")
    assert dict(row or {}) == {"tries": 1, "problem": None, "sent_at": None}
    other.terminate()


async def test_an_end_is_reported_after_every_failure_though_the_story_is_long(post: Post, receiver: Receiver) -> None:
    tasks = [a_task(f"t{number}") for number in range(620)]
    batch, ids = await post.submit(*tasks, webhook=receiver.url)
    error = Problem(code="task.model_missing", what="no server has had its model for a day")
    await apply(post.pool, [TaskChange(task=task, event=GivenUp(), error=error) for task in ids])
    post.start()
    await receiver.wait_for(lambda seen: len(seen.taken) == 621)
    assert receiver.list_taken()[-1] == ("batch.ended", batch)
    assert [number for _, number in receiver.list_taken()[:-1]] == list(ids)


async def test_a_deadline_that_cannot_be_met_is_reported_for_its_batch(post: Post, receiver: Receiver) -> None:
    batch, _ = await post.submit(webhook=receiver.url, by="2030-01-01T07:00:00Z")
    post.start()
    (deadline,) = (await read_open_deadlines(post.pool, [batch])).values()
    await note_missed(post.pool, deadline, None)
    await note_missed(post.pool, deadline, None)
    await receiver.wait_for(lambda seen: len(seen.taken) == 1)
    assert receiver.taken[0][1]["type"] == "forecast.missed"
    expected = {"batch": batch, "name": "portraits", "by": "2030-01-01T07:00:00+00:00", "ready_at": None, "open": 1}
    assert receiver.taken[0][1]["data"] == expected
    assert await post.pool.fetchval("select count(*) from outbox") == 1


async def test_a_gpu_that_yields_is_reported_once_however_often_the_server_starts(
    post: Post, receiver: Receiver
) -> None:
    post.use(receivers=(WebhookReceiver(name="ci", url=receiver.url, when=(Occasion.SLOT_YIELDS,)),))
    since = datetime(2026, 11, 29, 19, 2, tzinfo=UTC)
    yielding = Yielding(programs=(Program(name="game.x86_64"),), since=since, seen_at=since)
    post.board.show_slots(lambda: (replace(a_place_view("llama", device="desk/gpu0"), yielding=yielding),))
    for _ in range(3):
        post.start()
        await post.wait_until("select exists (select from outbox_conditions)")
        await post.wait_until(ALL_SENT)
        await post.kill()
    ((_, message),) = receiver.taken
    assert message["type"] == "slot.yields"
    assert message["data"] == {
        "device": "desk/gpu0",
        "to": "game.x86_64",
        "since": "2026-11-29T19:02:00+00:00",
    }
