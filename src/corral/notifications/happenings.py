"""Happenings, and the receivers that get word of each. Pure.

A receiver of the cluster file gets the occasions of its `when`; a batch's own webhook gets those of its tasks and of
its end; who is named in its `notify` gets those that its target is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from corral.cluster.receivers import OF_TASKS, Batches, NotifyTarget, Occasion
from corral.cluster.values import Cluster
from corral.notifications.outbox import Channel, NewMessage
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The receivers that a batch asks for."""

    webhook: str | None = None
    notify: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that is worth a message."""

    occasion: Occasion
    key: str
    """The same whenever it is looked at again."""
    at: datetime
    data: Mapping[str, Json]
    batch: int | None = None
    wishes: Wishes = Wishes()


def wants_every_batch(cluster: Cluster) -> bool:
    """Whether a receiver of the file gets word of batches that ask for nothing."""
    return any(
        set(OF_TASKS) & set(receiver.when)
        for receiver in (
            *cluster.webhooks.receivers,
            *(target for target in cluster.notify if target.batches is Batches.ALL),
        )
    )


def list_messages(happening: Happening, cluster: Cluster) -> Iterator[NewMessage]:
    """List the messages that something makes, one for each receiver."""
    url = happening.wishes.webhook
    if url is not None and happening.occasion in OF_TASKS:
        yield _make_message(happening, Channel.BATCH_WEBHOOK, url)
    for receiver in cluster.webhooks.receivers:
        if happening.occasion in receiver.when:
            yield _make_message(happening, Channel.WEBHOOK, receiver.name)
    for target in cluster.notify:
        if _wants(target, happening):
            yield _make_message(happening, Channel.NOTIFY, target.to, target)


def _wants(target: NotifyTarget, happening: Happening) -> bool:
    is_asked = target.batches is Batches.ALL or target.to in happening.wishes.notify
    return happening.occasion in target.when and (is_asked or happening.occasion not in OF_TASKS)


def _make_message(
    happening: Happening, channel: Channel, receiver: str, target: NotifyTarget | None = None
) -> NewMessage:
    message = NewMessage(
        channel=channel,
        receiver=receiver,
        occasion=happening.occasion,
        key=happening.key,
        at=happening.at,
        data=happening.data,
        batch=happening.batch,
    )
    return message if target is None else replace(message, wait=target.bundle)
