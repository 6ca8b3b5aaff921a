"""Use cases over receivers: how it stands with each, and a message to try one. For the API and the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import uuid4

from corral.cluster.receivers import Occasion
from corral.cluster.values import Cluster
from corral.errors import CorralError, Kind, did_you_mean
from corral.notifications import people, webhooks
from corral.notifications.outbox import Channel, Standing
from corral.notifications.receiving import find_receiver, find_target, show_receiver
from corral.notifications.texts import Text

ADD_RECEIVER = "add `notify` or `webhooks` to the cluster file and run `corral reload`"


class ReceiverMissingError(CorralError):
    """There is no such receiver."""

    code: ClassVar[str] = "notify.receiver_missing"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverAnswer:
    """A receiver, and the messages to it."""

    name: str
    """Its name in the cluster file; of the `webhook` of a batch, the server of the URL."""
    channel: Channel
    when: tuple[Occasion, ...]
    """The occasions of the cluster file; empty where it does not have the receiver."""
    pending: int
    """Messages that wait to be sent."""
    oldest_at: datetime | None
    """When the oldest of them was made."""
    next_at: datetime | None
    """When the next try is due."""
    quiet_until: datetime | None
    """When the quiet hours end that hold messages back now."""
    problem: str | None
    """Why the last try did not work."""
    sent_at: datetime | None
    """When a message was delivered last, in seven days."""
    given_up: int
    """Messages that were not delivered within a day, in seven days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiversAnswer:
    """All receivers."""

    items: tuple[ReceiverAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAsked:
    """Which receivers to try."""

    name: str | None = None
    """One of the cluster file; null tries all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A receiver that was tried."""

    name: str
    channel: Channel
    problem: str | None
    """Why it did not take the message; null when it did."""
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAnswer:
    """What became of each message."""

    items: tuple[Trial, ...]


def describe(cluster: Cluster, standings: Sequence[Standing], now: datetime) -> ReceiversAnswer:
    """Describe the receivers of the cluster file, and others for which there are messages."""
    known: dict[tuple[Channel, str], Standing] = {}
    for standing in standings:  # the URLs of one server are one receiver: their paths are not shown
        shown = (standing.channel, show_receiver(standing.receiver))
        known[shown] = standing if shown not in known else _join(known[shown], standing)
    items = [
        _describe(channel, name, when, known.pop((channel, name), None), _find_quiet_end(channel, name, cluster, now))
        for channel, name, when in _list_receivers(cluster)
    ]
    items += [_describe(channel, name, (), standing, None) for (channel, name), standing in known.items()]
    return ReceiversAnswer(items=tuple(items))


async def try_receivers(cluster: Cluster, asked: TrialAsked, environ: Mapping[str, str], now: datetime) -> TrialAnswer:
    """Send a message to each receiver, or to one of them, at once and past the outbox.

    Raises: ReceiverMissingError.
    """
    receivers = [(channel, name) for channel, name, _ in _list_receivers(cluster) if asked.name in (None, name)]
    if not receivers:
        names = [name for _, name, _ in _list_receivers(cluster)]
        if asked.name is None:
            raise ReceiverMissingError("the cluster file has no receiver", hint=ADD_RECEIVER)
        hint = did_you_mean(asked.name, names, otherwise=None if names else ADD_RECEIVER)
        raise ReceiverMissingError(f"there is no receiver {asked.name!r}", hint=hint)
    tried = await asyncio.gather(*(_try(channel, name, cluster, environ, now) for channel, name in receivers))
    return TrialAnswer(items=tuple(tried))


async def _try(channel: Channel, name: str, cluster: Cluster, environ: Mapping[str, str], now: datetime) -> Trial:
    try:
        if channel is Channel.NOTIFY:
            url = people.read_url(find_target(name, cluster), environ)
            await people.notify(url, Text(f"{cluster.name}: a test", "Messages of this Corral server arrive here."))
        else:
            endpoint = find_receiver(name, cluster, environ)
            body = webhooks.write_body("test", now, {"name": name})
            message = f"msg_{uuid4().hex}"
            await webhooks.send(endpoint.url, message, body, endpoint.secrets, allowed=endpoint.allowed)
    except CorralError as error:
        return Trial(name=name, channel=channel, problem=error.what, hint=error.hint)
    return Trial(name=name, channel=channel, problem=None, hint=None)


def _join(first: Standing, second: Standing) -> Standing:
    both = (first, second)
    return Standing(
        channel=first.channel,
        receiver=first.receiver,
        pending=first.pending + second.pending,
        oldest_at=min(filter(None, (standing.oldest_at for standing in both)), default=None),
        next_at=min(filter(None, (standing.next_at for standing in both)), default=None),
        tries=max(first.tries, second.tries),
        problem=first.problem or second.problem,
        sent_at=max(filter(None, (standing.sent_at for standing in both)), default=None),
        given_up=first.given_up + second.given_up,
    )


def _list_receivers(cluster: Cluster) -> Iterator[tuple[Channel, str, tuple[Occasion, ...]]]:
    for target in cluster.notify:
        yield Channel.NOTIFY, target.to, target.when
    for receiver in cluster.webhooks.receivers:
        yield Channel.WEBHOOK, receiver.name, receiver.when


def _find_quiet_end(channel: Channel, name: str, cluster: Cluster, now: datetime) -> datetime | None:
    if channel is not Channel.NOTIFY or (hours := find_target(name, cluster).quiet_hours) is None:
        return None
    span = hours.find_opening(now)
    return span.closes_at if span is not None and span.opens_at <= now else None


def _describe(
    channel: Channel,
    name: str,
    when: tuple[Occasion, ...],
    standing: Standing | None,
    quiet_until: datetime | None,
) -> ReceiverAnswer:
    return ReceiverAnswer(
        name=name,
        channel=channel,
        when=when,
        pending=0 if standing is None else standing.pending,
        oldest_at=None if standing is None else standing.oldest_at,
        next_at=None if standing is None else standing.next_at,
        quiet_until=quiet_until,
        problem=None if standing is None else standing.problem,
        sent_at=None if standing is None else standing.sent_at,
        given_up=0 if standing is None else standing.given_up,
    )
