"""Receivers are described with what waits for them, and no path of a URL, which can hold a secret."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from corral.cluster.receivers import NotifyTarget, Occasion, WebhookReceiver, Webhooks
from corral.cluster.values import Cluster, Node
from corral.hours import make_hours
from corral.notifications.outbox import Channel, Standing
from corral.notifications.standings import describe

NOW = datetime(2026, 11, 29, 23, tzinfo=UTC)
CLUSTER = Cluster(
    name="desk",
    nodes=(Node(name="desk"),),
    webhooks=Webhooks(receivers=(WebhookReceiver(name="ci", url="https://ci.example.org/geheim"),)),
    notify=(
        NotifyTarget(
            to="phone",
            url_from="URL",
            when=(Occasion.DISK_LOW,),
            quiet_hours=make_hours({"daily": ((22 * 60, 31 * 60),)}, zone="UTC"),
        ),
    ),
)


def a_standing(channel: Channel, receiver: str, pending: int = 1, problem: str | None = None) -> Standing:
    return Standing(
        channel=channel,
        receiver=receiver,
        pending=pending,
        oldest_at=NOW - timedelta(minutes=pending) if pending else None,
        next_at=NOW if pending else None,
        tries=pending,
        problem=problem,
        sent_at=None if pending else NOW,
        given_up=0,
    )


def test_receivers_of_the_file_are_listed_with_and_without_messages() -> None:
    phone, ci = describe(CLUSTER, [a_standing(Channel.NOTIFY, "phone", 2, "no answer")], NOW).items
    assert (phone.name, phone.pending, phone.problem, phone.when) == ("phone", 2, "no answer", (Occasion.DISK_LOW,))
    assert phone.quiet_until == datetime(2026, 11, 30, 7, tzinfo=UTC)
    assert (ci.name, ci.pending, ci.sent_at) == ("ci", 0, None)


def test_urls_of_one_server_are_one_receiver_without_their_paths() -> None:
    standings = [
        a_standing(Channel.BATCH_WEBHOOK, "https://a.example.org/geheim-1", 3),
        a_standing(Channel.BATCH_WEBHOOK, "https://a.example.org/geheim-2", 0),
        a_standing(Channel.BATCH_WEBHOOK, "https://a.example.org/geheim-3", 1, "it answered 500"),
        a_standing(Channel.BATCH_WEBHOOK, "https://b.example.org/geheim"),
    ]
    answer = describe(CLUSTER, standings, NOW)
    first, second = answer.items[2:]
    assert (first.name, second.name) == ("https://a.example.org", "https://b.example.org")
    assert (first.pending, first.problem, first.sent_at) == (4, "it answered 500", NOW)
    assert first.oldest_at == NOW - timedelta(minutes=3)
    assert "geheim" not in str(answer)


def test_a_receiver_that_the_file_does_not_have_any_more_is_listed_while_it_has_messages() -> None:
    (_, _, gone) = describe(CLUSTER, [a_standing(Channel.NOTIFY, "mail")], NOW).items
    assert (gone.name, gone.when, gone.pending) == ("mail", (), 1)
