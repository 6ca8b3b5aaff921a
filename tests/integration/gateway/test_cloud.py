"""Providers elsewhere serve only what nothing here can, only where the cluster file names them, and say so."""

from __future__ import annotations

import pytest

from corral.cluster.gateway_values import CloudModel, GatewayModel
from corral.slots.guests import GuestLateError

from .conftest import Gateway, say, stream

CHAT = {"model": "big", "messages": [{"role": "user", "content": "hello"}]}


def a_fallback(gateway: Gateway, *, key_from: str | None = "FAR_KEY", name: str = "tiny") -> None:
    """Let the second server be a provider elsewhere for a model, by two names that fail and serve."""
    gone = CloudModel(name="gone", model="x", base_url="http://127.0.0.1:1/v1")
    far = CloudModel(name="far", model="far-big", base_url=f"{gateway.second.url}/api/v1", key_from=key_from)
    gateway.named[name] = GatewayModel(name=name, fallback=(gone, far))


async def test_late_guest_is_served_elsewhere_with_the_providers_name(gateway: Gateway) -> None:
    a_fallback(gateway)
    gateway.desk.error = GuestLateError("every slot is busy", retry_after_s=100)

    status, headers, answer = await gateway.call("/v1/chat/completions", CHAT | {"model": "tiny"})

    assert (status, answer["by"], headers["x-corral-cloud"]) == (200, "upstream", "far")
    ((path, body, sent),) = gateway.second.asked
    assert (path, body["model"], sent["Authorization"]) == ("/api/v1/chat/completions", "far-big", "Bearer key-of-far")
    assert gateway.usage.served[0].cloud == "far"
    assert gateway.desk.asks[0].within_s == 10.0


async def test_model_that_is_nowhere_here_is_served_elsewhere(gateway: Gateway) -> None:
    a_fallback(gateway, name="big")
    assert (await gateway.call("/v1/chat/completions", CHAT))[0] == 200
    assert gateway.desk.asks == []


async def test_slots_here_go_first_and_elsewhere_serves_when_all_fail(gateway: Gateway) -> None:
    a_fallback(gateway)
    assert "x-corral-cloud" not in (await gateway.call("/v1/chat/completions", CHAT | {"model": "tiny"}))[1]
    gateway.first.answer = say({"error": "broken"}, 500)
    gateway.second.answers = {"/v1/chat/completions": say({"error": "broken"}, 500)}
    assert (await gateway.call("/v1/chat/completions", CHAT | {"model": "tiny"}))[1]["x-corral-cloud"] == "far"


async def test_refused_request_stays_here(gateway: Gateway) -> None:
    a_fallback(gateway)
    gateway.first.answer = say({"error": "no"}, 400)
    assert (await gateway.chat())[0] == 400
    assert gateway.second.asked == []


async def test_streams_from_elsewhere_pass_too(gateway: Gateway) -> None:
    a_fallback(gateway)
    gateway.desk.error = GuestLateError("busy", retry_after_s=1)
    gateway.second.answer = stream({"a": 1}, "[DONE]")
    async with gateway.post(stream=True) as response:
        assert await response.text() == 'data: {"a": 1}\n\ndata: [DONE]\n\n'


async def test_key_that_is_not_set_is_named_and_its_value_never(gateway: Gateway) -> None:
    a_fallback(gateway, key_from="NO_SUCH_KEY")
    gateway.desk.error = GuestLateError("busy", retry_after_s=1)
    status, answer = await gateway.chat()
    assert status == 503
    assert "NO_SUCH_KEY" in answer["error"]["message"]


async def test_key_that_the_provider_refuses_is_not_the_clients_fault(
    gateway: Gateway, capfd: pytest.CaptureFixture[str]
) -> None:
    a_fallback(gateway)
    gateway.desk.error = GuestLateError("busy", retry_after_s=1)
    gateway.second.answer = say({"error": "bad key"}, 401)
    status, answer = await gateway.chat()
    assert (status, answer["error"]["code"]) == (503, "gateway.slot_failed")
    assert "key-of-far" not in "".join(capfd.readouterr())
