"""Receivers of word from the server: webhooks, and the services that notifications go to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from corral.hours import Hours


class Occasion(StrEnum):
    """An occasion for word from the server, as `when` lists it."""

    BATCH_ENDED = "batch-ended"
    """Every task of a batch has ended."""
    TASK_FAILED = "task-failed"
    """A task has failed for good: it is not tried again."""
    FORECAST_MISSED = "forecast-missed"
    """A batch with a deadline cannot be done by then any more."""
    SLOT_CLOSED = "slot-closed"
    """A slot takes no tasks, since its engine or its GPU does not work."""
    SLOT_YIELDS = "slot-yields"
    """A GPU is given to programs outside of Corral."""
    DISK_LOW = "disk-low"
    """Nothing starts, since the server's disk is nearly full."""


OF_TASKS = (Occasion.BATCH_ENDED, Occasion.TASK_FAILED, Occasion.FORECAST_MISSED)
"""Those that belong to batches and tasks; the others are the server's."""


class Batches(StrEnum):
    """The batches that a receiver gets word of."""

    ALL = "all"
    ASKED = "asked"
    """Those that name it in `notify`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookReceiver:
    """A program that gets signed requests."""

    name: str
    url: str
    secret_from: str | None = None
    """The environment variable with its signing secret; None is the one of all webhooks."""
    when: tuple[Occasion, ...] = OF_TASKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """Webhooks, those that batches ask for and those of the file."""

    secret_from: str | None = None
    """The environment variable with the signing secret; without it, batches can have no webhook."""
    allow_private: tuple[str, ...] = ()
    """Networks in which receivers can be that are not of the public internet."""
    receivers: tuple[WebhookReceiver, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyTarget:
    """A service through which people are notified."""

    to: str
    """Its name."""
    url_from: str
    """The environment variable with its URL, as apprise writes it; it can hold secrets."""
    when: tuple[Occasion, ...] = OF_TASKS
    batches: Batches = Batches.ALL
    bundle: timedelta = timedelta(minutes=1)
    """How long what happens is collected before it is sent as one message."""
    quiet_hours: Hours | None = None
    """Hours of each day in which nothing is sent."""
