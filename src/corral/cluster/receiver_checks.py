"""Checks of `webhooks` and `notify` that no single field shows."""

from __future__ import annotations

from corral.cluster.checks import References
from corral.cluster.networks import is_inside


def check_receivers(references: References) -> None:
    """Check that receivers have names and secrets, and addresses that requests can go to."""
    webhooks, targets = references.shape.webhooks, references.shape.notify
    receivers = () if webhooks is None else webhooks.receivers
    names = [(("webhooks", "receivers", i, "name"), receiver.name) for i, receiver in enumerate(receivers)]
    names += [(("notify", i, "to"), target.to) for i, target in enumerate(targets)]
    references.check_unique(names, "a receiver")
    for index, receiver in enumerate(receivers):
        at = ("webhooks", "receivers", index)
        if webhooks is not None and webhooks.secret_from is None and receiver.secret_from is None:
            what = f"the requests to {receiver.name!r} have no signing secret"
            references.report_conflict(what, (*at, "name"), "add `secretFrom` to it, or to `webhooks`")
        if webhooks is not None and is_inside(receiver.url, webhooks.allow_private):
            what = f"the address of {receiver.name!r} is inside this network"
            references.report_conflict(what, (*at, "url"), "add it or its network to `webhooks.allowPrivate`")
