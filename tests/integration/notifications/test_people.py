"""People are notified through apprise, in bundles, outside their quiet hours, and no secret of a URL is written."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from builders import a_task
from corral.cluster.receivers import Batches, NotifyTarget, Occasion
from corral.cluster.values import ServerRules
from corral.hours import make_hours
from corral.notifications.notifier import ALARM
from corral.notifications.people import MISSING_HINT, NotifyError, notify
from corral.notifications.texts import Text
from corral.tasks.values import StoredFile
from corral.units import Bytes
from doubles.notified import Service, serving_json, taking_mail
from doubles.queue_life import fail, succeed

from .conftest import QUICK, Post

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""One pixel."""


@pytest.fixture
async def phone(post: Post) -> AsyncIterator[Service]:
    """A service that everything goes to, at once."""
    async with serving_json() as service:
        post.environ["PHONE_URL"] = f"json://{service.address}/topic-geheim"
        notify_by(post)
        yield service


def notify_by(post: Post, **settings: object) -> None:
    """Change the one target of the cluster file."""
    target = NotifyTarget(to="phone", url_from="PHONE_URL", when=tuple(Occasion), bundle=timedelta())
    post.cluster = replace(post.cluster, notify=(replace(target, **settings),))


async def test_the_end_of_a_batch_is_one_message_with_counts_duration_link_and_one_picture(
    post: Post, phone: Service
) -> None:
    post.cluster = replace(post.cluster, server=ServerRules(link="https://desk.example.org"))
    source = post.artifacts.root.parent / "portrait.png"
    source.write_bytes(PNG)
    content = post.artifacts.adopt(source)
    post.artifacts.settle([content])
    batch, (task,) = await post.submit()
    image = StoredFile(name="portrait.png", sha256=content.sha256, size=Bytes(len(PNG)), media_type="image/png")
    await succeed(post.pool, task, image)
    post.start()
    await phone.wait_for(1)
    (message,) = phone.got
    assert message["path"] == "/topic-geheim"
    assert message["title"] == f"desk: batch {batch} (portraits) has ended: 1 succeeded"
    first, link = message["message"].splitlines()
    assert first.startswith(f"batch {batch} (portraits) has ended: 1 succeeded, in ")
    assert link == f"https://desk.example.org/corral/v1/batches/{batch}"
    (picture,) = message["attachments"]
    assert (picture["filename"], base64.b64decode(picture["base64"])) == ("portrait.png", PNG)


async def test_what_happens_within_the_window_is_one_message(post: Post, phone: Service) -> None:
    notify_by(post, bundle=timedelta(seconds=2))
    _, (first, second, third) = await post.submit(a_task("a"), a_task("b"), a_task("c"))
    post.start()
    await fail(post.pool, first)
    await fail(post.pool, second)
    await succeed(post.pool, third)
    await phone.wait_for(1)
    await post.wait_until("select count(*) = 3 from outbox where sent_at is not null")
    (message,) = phone.got
    assert message["title"] == "desk: 1 batch ended, 2 tasks failed"
    assert "task 1 (a) of batch" in message["message"]
    assert "the inputs cannot be used" in message["message"]


async def test_quiet_hours_hold_everything_back_for_one_summary(post: Post, phone: Service) -> None:
    notify_by(post, quiet_hours=make_hours({"daily": ((22 * 60, 31 * 60),)}, zone="Europe/Berlin"))
    post.now = datetime.fromisoformat("2026-11-29T23:30:00+01:00")
    _, (first, second) = await post.submit(a_task("a"), a_task("b"))
    post.start()
    await fail(post.pool, first)
    await succeed(post.pool, second)
    await post.wait_until("select count(*) = 2 from outbox where due_at < now()")
    await asyncio.sleep(10 * QUICK.poll_s)
    assert not phone.got
    post.now = datetime.fromisoformat("2026-11-30T07:00:00+01:00")
    await phone.wait_for(1)
    assert phone.got[0]["title"] == "desk: 1 batch ended, 1 task failed"


async def test_a_target_for_batches_that_ask_is_not_told_of_others(post: Post, phone: Service) -> None:
    notify_by(post, batches=Batches.ASKED)
    _, (silent,) = await post.submit()
    batch, (task,) = await post.submit(notify=["phone"])
    post.start()
    await succeed(post.pool, silent)
    await succeed(post.pool, task)
    await phone.wait_for(1)
    assert await post.pool.fetch("select batch_id from outbox") == [(batch,)]


async def test_a_service_that_fails_is_tried_again_and_its_url_is_in_no_log(
    post: Post, phone: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    phone.status = 500
    _, (task,) = await post.submit()
    post.start()
    await succeed(post.pool, task)
    await phone.wait_for(2)
    phone.status = 200
    await post.wait_until("select bool_and(sent_at is not null) from outbox", within_s=40)
    printed = "".join(capsys.readouterr())  # another test of this process can have set where logs go
    assert "message_not_sent" in printed
    assert "geheim" not in printed
    assert phone.address.partition(":")[0] not in printed


async def test_a_full_disk_is_reported_once_until_it_has_room_and_is_full_again(post: Post, phone: Service) -> None:
    post.alarms.ring("disk", "the disk has 100.0 MiB free", hint="free some")
    post.start()
    await phone.wait_for(1)
    assert phone.got[0]["message"] == "the disk has 100.0 MiB free; free some"
    await post.wait_until("select bool_and(sent_at is not null) from outbox")
    await post.kill()
    post.start()  # the disk is still full after a restart, which is no news
    post.alarms.clear("disk")
    await post.wait_until("select not exists (select from outbox_conditions)")
    post.alarms.ring("disk", "the disk has 90.0 MiB free")
    await phone.wait_for(2)
    assert [message["message"] for message in phone.got][1:] == ["the disk has 90.0 MiB free"]


async def test_a_variable_that_is_not_set_is_an_alarm_with_its_name(post: Post, phone: Service) -> None:
    del post.environ["PHONE_URL"]
    _, (task,) = await post.submit()
    post.start()
    await succeed(post.pool, task)
    async with asyncio.timeout(20):
        while ALARM not in {alarm.name for alarm in post.alarms.raised}:  # noqa: ASYNC110 (the outbox raises it)
            await asyncio.sleep(0.02)
    assert "the environment variable PHONE_URL is not set" in post.alarms.raised[0].what


async def test_without_apprise_an_alarm_says_what_to_install_and_nothing_is_lost(post: Post, phone: Service) -> None:
    post.is_installed = False
    _, (task,) = await post.submit()
    post.start()
    await succeed(post.pool, task)
    await post.wait_until("select bool_or(problem like '%pip install ''corral[notify]''%') from outbox")
    (alarm,) = post.alarms.raised
    assert (alarm.name, alarm.hint) == (ALARM, MISSING_HINT)
    post.is_installed = True
    await phone.wait_for(1)


async def test_ntfy_gets_a_title_and_a_text() -> None:
    async with serving_json() as service:
        await notify(f"ntfy://{service.address}/topic", Text("desk: batch 3", "all of it"))
    assert (service.got[0]["topic"], service.got[0]["title"]) == ("topic", "desk: batch 3")
    assert service.got[0]["message"] == "all of it"


async def test_e_mail_arrives() -> None:
    async with taking_mail() as mailbox:
        url = f"mailto://127.0.0.1:{mailbox.port}?from=corral@example.org&to=ada@example.org&mode=insecure"
        await notify(url, Text("desk: batch 3 has ended", "1,918 succeeded"))
    (letter,) = mailbox.letters
    assert letter["subject"] == "desk: batch 3 has ended"
    assert letter["to"] == "ada@example.org"
    assert "1,918 succeeded" in str(letter)


async def test_a_service_that_hangs_is_left_in_time() -> None:
    async with serving_json() as service:
        service.hangs = True
        with pytest.raises(NotifyError, match="did not answer within 2 s"):
            await notify(f"json://{service.address}/", Text("a", "b"), try_s=2)


@pytest.mark.parametrize("url", ["nonsense://geheim:token@host/geheim", "geheim://"])
async def test_a_url_that_apprise_does_not_know_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(NotifyError) as caught:
        await notify(url, Text("a", "b"))
    assert "geheim" not in str(caught.value)


async def test_what_apprise_says_of_a_failure_has_no_part_of_the_url() -> None:
    with pytest.raises(NotifyError) as caught:
        await notify("ntfy://ada:geheim1234@127.0.0.1:9/secret-topic", Text("a", "b"))
    assert not {"geheim1234", "secret-topic", "127.0.0.1"} & set(str(caught.value).replace("/", " ").split())
    assert "onnection" in str(caught.value)
