"""The shapes of `webhooks` and `notify` in a cluster file."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from corral.cluster.fields import DayHours, Duration, EnvironmentName, Name, Text, Url, show_value, wrong
from corral.cluster.machine_shapes import Shape
from corral.cluster.networks import read_network
from corral.cluster.receivers import OF_TASKS, Batches, Occasion

_WORDS = ", ".join(f"`{occasion.value}`" for occasion in Occasion)
_LONGEST_BUNDLE = timedelta(days=1)


def _check_network(text: str) -> str:
    try:
        read_network(text)
    except ValueError:
        hint = "write a network or an address, such as 192.168.1.0/24 or 127.0.0.1"
        raise wrong(f"not a network: {show_value(text)}", hint) from None
    return text


def _check_bundle(value: timedelta) -> timedelta:
    if value > _LONGEST_BUNDLE:
        raise wrong("nothing is collected for more than a day", "write a shorter time, such as 10m")
    return value


def _check_when(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise wrong("there is no occasion", f"name one: {_WORDS.replace('`', '')}")
    return value


When = Annotated[tuple[Occasion, ...], AfterValidator(_check_when)]
NetworkText = Annotated[Text, AfterValidator(_check_network)]
_DEFAULT_WHEN = ", ".join(occasion.value for occasion in OF_TASKS)


class WebhookReceiverShape(Shape):
    """A program that gets signed requests."""

    name: Name = Field(description="Unique among receivers; `corral notify` names it.")
    url: Url = Field(description="Its address; http or https, without user name or password.")
    secret_from: EnvironmentName | None = Field(
        None,
        description="The environment variable with its signing secret, `whsec_...`. Default: `webhooks.secretFrom`.",
    )
    when: When = Field(OF_TASKS, description=f"The occasions: {_WORDS}. Default: {_DEFAULT_WHEN}.")


class WebhooksShape(Shape):
    """Signed requests to programs when something has happened."""

    secret_from: EnvironmentName | None = Field(
        None,
        description="The environment variable with the signing secret, `whsec_...`; batches can have a `webhook` where "
        "it is named.",
    )
    allow_private: tuple[NetworkText, ...] = Field(
        (),
        description="Networks and addresses inside your own network where receivers can be: `192.168.1.0/24`, "
        "`127.0.0.1`. Default: none, only the public internet.",
    )
    receivers: tuple[WebhookReceiverShape, ...] = Field((), description="Receivers of every batch.")


class NotifyTargetShape(Shape):
    """A service through which people are notified."""

    to: Name = Field(description="Its name, unique among receivers; batches and `corral notify` name it.")
    url_from: EnvironmentName = Field(
        description="The environment variable with its URL, as apprise writes it (`ntfys://...`, `mailtos://...`). The "
        "URL itself, with its secrets, is never in this file."
    )
    when: When = Field(OF_TASKS, description=f"The occasions: {_WORDS}. Default: {_DEFAULT_WHEN}.")
    batches: Batches = Field(
        Batches.ALL, description="`all`: every batch and task; `asked`: batches that name it in `notify`."
    )
    bundle: Annotated[Duration, AfterValidator(_check_bundle)] = Field(
        timedelta(minutes=1),
        description="How long what happens is collected into one message. Default: 1m.",
        json_schema_extra={"default": "1m"},
    )
    quiet_hours: DayHours | None = Field(
        None,
        description='Hours of each day in which nothing is sent, `"22:00-07:00"`; a summary is sent after them.',
    )
