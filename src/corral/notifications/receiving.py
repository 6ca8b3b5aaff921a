"""Receivers as the cluster file has them now: where a message goes, and with which secret. A reload changes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from corral.cluster.receivers import NotifyTarget, WebhookReceiver
from corral.cluster.values import Cluster
from corral.errors import CorralError, Kind
from corral.notifications.outbox import Channel, Message
from corral.notifications.signing import read_secrets


class ReceiverGoneError(CorralError):
    """The cluster file does not have the receiver any more."""

    code: ClassVar[str] = "notify.receiver_gone"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a webhook goes."""

    url: str
    secrets: tuple[bytes, ...]
    allowed: tuple[str, ...]


def find_endpoint(message: Message, cluster: Cluster, environ: Mapping[str, str]) -> Endpoint:
    """Return where a message of a webhook goes now. Raises: ReceiverGoneError, SecretError."""
    if message.channel is Channel.WEBHOOK:
        return find_receiver(message.receiver, cluster, environ)
    variable = cluster.webhooks.secret_from
    if variable is None:
        raise ReceiverGoneError("the cluster file has no `webhooks.secretFrom` any more")
    return Endpoint(
        url=message.receiver, secrets=read_secrets(variable, environ), allowed=cluster.webhooks.allow_private
    )


def find_receiver(name: str, cluster: Cluster, environ: Mapping[str, str]) -> Endpoint:
    """Return where the webhooks of a receiver of the file go. Raises: ReceiverGoneError, SecretError."""
    webhooks = cluster.webhooks
    receiver = _find_by_name(name, cluster)
    variable = None if receiver is None else receiver.secret_from or webhooks.secret_from
    if receiver is None or variable is None:
        raise ReceiverGoneError(f"the cluster file has no receiver {name!r} any more")
    return Endpoint(url=receiver.url, secrets=read_secrets(variable, environ), allowed=webhooks.allow_private)


def find_target(name: str, cluster: Cluster) -> NotifyTarget:
    """Return who is notified under a name. Raises: ReceiverGoneError."""
    target = next((target for target in cluster.notify if target.to == name), None)
    if target is None:
        raise ReceiverGoneError(f"the cluster file has no {name!r} under `notify` any more")
    return target


def find_origin(message: Message, cluster: Cluster) -> str:
    """Return the server of a receiver, `https://host:port`; its own name where the file does not have it any more."""
    url = message.receiver
    if message.channel is Channel.WEBHOOK:
        receiver = _find_by_name(message.receiver, cluster)
        url = "" if receiver is None else receiver.url
    return show_receiver(url or message.receiver)


def show_receiver(receiver: str) -> str:
    """Return what can be shown of a receiver: its name, or the server of a URL, whose path can hold a secret."""
    parts = urlsplit(receiver)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else receiver


def _find_by_name(name: str, cluster: Cluster) -> WebhookReceiver | None:
    return next((receiver for receiver in cluster.webhooks.receivers if receiver.name == name), None)
