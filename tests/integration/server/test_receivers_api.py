"""Batches name receivers of the cluster file, and webhooks where it has a signing secret; anything else is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from corral.cluster.receivers import NotifyTarget, Occasion, Webhooks
from corral.server.services import Services
from doubles.serving import Serving

from .conftest import InEffect

NAP = {"engine": "sleep", "inputs": {"seconds": 1}}


def allow(services: Services, **changes: Any) -> None:
    """Change the cluster file in effect."""
    assert isinstance(services.in_effect, InEffect)
    services.in_effect.cluster = replace(services.in_effect.cluster, **changes)


async def test_what_a_batch_asks_for_is_kept_and_shown(api: Serving, services: Services) -> None:
    allow(services, webhooks=Webhooks(secret_from="SECRET"))
    asked = {"name": "night", "tasks": [NAP], "webhook": "https://ci.example.org/corral", "notify": ["phone"]}
    answered = await api.post("/corral/v1/batches", asked)
    assert answered.status == 201, answered.json
    shown = (await api.get(f"/corral/v1/batches/{answered.json['batch']['id']}")).json
    assert (shown["webhook"], shown["notify"]) == (asked["webhook"], asked["notify"])


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"webhook": "https://ci.example.org"}, "the cluster file names no signing secret"),
        ({"notify": ["fone"]}, "there is no 'fone' under `notify`"),
        ({"notify": ["slots"]}, "'slots' gets no word of batches"),
        ({"webhook": "ftp://ci.example.org"}, "not an http or https URL"),
        ({"webhook": "https://ada:secret@ci.example.org"}, "cannot hold a user name or password"),
    ],
)
async def test_a_receiver_that_cannot_be_had_is_refused(
    api: Serving, services: Services, asked: dict[str, Any], what: str
) -> None:
    allow(
        services,
        notify=(
            *services.cluster.notify,
            NotifyTarget(to="slots", url_from="SLOTS", when=(Occasion.SLOT_CLOSED,)),
        ),
    )
    answered = await api.post("/corral/v1/batches", {"name": "night", "tasks": [NAP], **asked})
    assert answered.status == 422
    assert what in answered.json["error"]["what"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]:80/", "http://192.168.1.7/x", "http://169.254.169.254/latest/meta-data"]
)
async def test_an_address_inside_the_network_is_refused_unless_it_is_allowed(
    api: Serving, services: Services, url: str
) -> None:
    allow(services, webhooks=Webhooks(secret_from="SECRET"))
    asked = {"name": "night", "tasks": [NAP], "webhook": url}
    refused = await api.post("/corral/v1/batches", asked)
    assert refused.status == 422
    assert "inside the server's network" in refused.json["error"]["what"]
    allow(services, webhooks=Webhooks(secret_from="SECRET", allow_private=("0.0.0.0/0", "::/0")))
    assert (await api.post("/corral/v1/batches", asked)).status == 201


async def test_a_receiver_that_is_unknown_cannot_be_tried(api: Serving) -> None:
    answered = await api.post("/corral/v1/notifications/test", {"name": "fone"})
    assert answered.status == 404
    assert answered.json["error"]["hint"] == "did you mean `phone`?"
