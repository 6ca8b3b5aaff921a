"""Listeners of doors: who is answered through which port, what can be reached there, and how a reload changes them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from corral.cluster.gateway_values import Frontend, Gateway, Listener
from corral.errors import ProblemsError
from corral.server.auth import NotAuthenticatedError
from corral.server.doors.doorman import ForeignPageError, TokenDoorman
from corral.server.listeners import Listeners
from corral.server.services import Services
from doubles.serving import Serving, serving


def find_free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@asynccontextmanager
async def serving_with(services: Services, gateway: Gateway) -> AsyncGenerator[Serving]:
    """Serve with these listeners."""
    listeners = Listeners()
    listeners.take(gateway)
    async with serving(replace(services, listeners=listeners)) as api:
        yield replace(api, url=f"http://127.0.0.1:{min(place.port for place in gateway.doors.values())}")


async def test_listener_has_its_door_and_nothing_else(services: Services) -> None:
    async with serving_with(services, Gateway(ollama=Listener(port=find_free_port(), owner="family"))) as family:
        root = await family.get("/")
        assert (root.status, root.body) == (200, b"Ollama is running")
        refused = await family.get("/corral/v1/tasks")
        assert refused.status == 404
        assert "the main port has the others" in refused.body.decode()


async def test_root_of_the_main_port_is_ollamas_words_unless_a_page_is_wanted(api: Serving) -> None:
    assert (await api.get("/")).body == b"Ollama is running"
    head = await api.call("HEAD", "/")
    assert (head.status, head.headers["content-length"]) == (200, str(len(b"Ollama is running")))
    assert (await api.get("/", headers={"Accept": "text/html,*/*"})).body != b"Ollama is running"


async def test_network_that_is_not_allowed_is_refused_before_anything_is_read(services: Services) -> None:
    listener = Listener(port=find_free_port(), owner="family", allow=("192.0.2.0/24",))
    async with serving_with(services, Gateway(ollama=listener)):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        answer = await reader.read()  # without a request
        writer.close()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"does not answer 127.0.0.1: gateway.ollama.allow" in answer


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_allowed_network_is_answered_on_every_address(services: Services, address: str) -> None:
    if ":" in address and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    listener = Listener(port=find_free_port(), owner="family", allow=("127.0.0.0/8",))
    async with serving_with(services, Gateway(ollama=listener)) as family:
        host = f"[{address}]" if ":" in address else address
        async with family.session.get(f"http://{host}:{listener.port}/") as answer:
            assert await answer.text() == "Ollama is running"


async def test_port_that_is_in_use_is_named_with_its_place_in_the_file(services: Services) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [taken.getsockname()[1], other.getsockname()[1]]
        gateway = Gateway(ollama=Listener(port=ports[0]), openai=Listener(port=ports[1], owner="lab"))
        with pytest.raises(ProblemsError) as caught:
            Listeners().take(gateway)
    assert [problem.where for problem in caught.value.problems] == ["gateway.ollama.port", "gateway.openai.port"]
    assert f"cannot listen on port {ports[0]}" in caught.value.problems[0].what


async def test_reload_adds_listeners_moves_them_and_takes_them_away(services: Services) -> None:
    first, second = find_free_port(), find_free_port()
    listeners = Listeners()
    async with serving(replace(services, listeners=listeners)) as api:
        with listeners.changing(Gateway(ollama=Listener(port=first))):
            pass
        assert await read_root(api, first) == "Ollama is running"
        with listeners.changing(Gateway(ollama=Listener(port=second, owner="family"))):
            pass
        assert await read_root(api, second) == "Ollama is running"
        with pytest.raises(aiohttp.ClientConnectionError):
            await read_root(api, first)
        with listeners.changing(Gateway()):
            pass
        with pytest.raises(aiohttp.ClientConnectionError):
            await read_root(api, second)


async def test_reload_that_fails_leaves_the_listeners_as_they_were(services: Services) -> None:
    port = find_free_port()
    listeners = Listeners()
    wider = Listener(port=port, allow=("127.0.0.0/8",))
    async with serving(replace(services, listeners=listeners)) as api:
        with listeners.changing(Gateway(ollama=Listener(port=port))):
            pass
        with pytest.raises(RuntimeError), listeners.changing(Gateway(ollama=wider)):
            raise RuntimeError("an engine cannot be made")
        assert listeners.places == {"ollama": Listener(port=port)}
        assert await read_root(api, port) == "Ollama is running"
        with listeners.changing(Gateway(ollama=wider)):
            pass
        assert await read_root(api, port) == "Ollama is running"


async def test_connection_that_is_kept_does_not_outlive_its_right(services: Services) -> None:
    port = find_free_port()
    listeners = Listeners()
    async with serving(replace(services, listeners=listeners)):
        with listeners.changing(Gateway(ollama=Listener(port=port, allow=("127.0.0.0/8",)))):
            pass
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        with listeners.changing(Gateway(ollama=Listener(port=port, allow=("192.0.2.0/24",)))):
            pass
        assert await reader.read() == b""  # it is closed
        writer.close()


async def read_root(api: Serving, port: int) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as answer:
        return await answer.text()


# --- whom a request speaks for ---------------------------------------------------------------------------------------


def make_scope(port: int, **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "path": "/api/tags", "server": ("127.0.0.1", port), "headers": pairs}


@pytest.fixture
def family(services: Services) -> Iterator[Services]:
    """Services with a listener that speaks for the family, and one that asks a network for keys."""
    listeners = Listeners()
    gateway = Gateway(
        ollama=Listener(port=find_free_port(), owner="family"),
        openai=Listener(port=find_free_port(), allow=("127.0.0.0/8",)),
    )
    listeners.take(gateway)
    yield replace(services, listeners=listeners)  # pyright: ignore[reportReturnType]
    listeners.close()


async def test_listener_with_an_owner_speaks_for_it_as_a_submitter_and_never_administers(family: Services) -> None:
    port = family.listeners.places["ollama"].port
    for headers in ({}, {"authorization": f"Bearer {family.local_token}"}, {"authorization": "Bearer ollama"}):
        visitor = await TokenDoorman(family).admit(make_scope(port, host="127.0.0.1", **headers))
        assert (visitor.owner, visitor.can_submit, visitor.is_admin, visitor.key) == ("family", True, False, None)


async def test_listener_for_a_network_without_an_owner_asks_for_a_key_whatever_host_is_written(
    family: Services,
) -> None:
    port = family.listeners.places["openai"].port
    with pytest.raises(NotAuthenticatedError):
        await TokenDoorman(family).admit(make_scope(port, host=f"localhost:{port}"))
    keyed = make_scope(port, host="192.168.1.5", authorization=f"Bearer {family.local_token}")
    assert (await TokenDoorman(family).admit(keyed)).is_admin


@pytest.mark.parametrize(
    ("host", "headers", "is_let_in"),
    [
        ("192.168.1.5:11434", {"user_agent": "ollama-python"}, True),
        ("gpu.example.org", {"user_agent": "ollama-python"}, True),
        ("192.168.1.5:11434", {"origin": "http://192.168.1.5:11434"}, True),
        ("gpu:11434", {"user_agent": "Mozilla/5.0"}, True),
        ("gpu.home.arpa:11434", {"user_agent": "Mozilla/5.0"}, True),
        ("[fd00::1]:11434", {"user_agent": "Mozilla/5.0"}, True),
        ("192.168.1.5:11434", {"origin": "http://evil.example"}, False),
        ("192.168.1.5:11434", {"origin": "null"}, False),
        ("192.168.1.5:11434", {"sec_fetch_site": "cross-site"}, False),
        ("rebound.example:11434", {"origin": "http://rebound.example:11434"}, False),
        ("rebound.example:11434", {"user_agent": "Mozilla/5.0"}, False),
    ],
)
async def test_page_of_another_site_gets_nothing_through_a_listener_without_keys(
    family: Services, host: str, headers: dict[str, str], is_let_in: bool
) -> None:
    scope = make_scope(family.listeners.places["ollama"].port, host=host, **headers)
    if is_let_in:
        assert (await TokenDoorman(family).admit(scope)).owner == "family"
    else:
        with pytest.raises(ForeignPageError):
            await TokenDoorman(family).admit(scope)


# --- a frontend ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def backend() -> AsyncGenerator[str]:
    """A server with an `/api` of its own: it repeats what it gets."""

    async def repeat(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=201, headers={"X-Path": request.raw_path, "Set-Cookie": "a=b"})
        answer.headers["X-Got"] = request.headers.get("X-Given", "")
        answer.headers["X-Hop"] = request.headers.get("X-Of-This-Hop", "none")
        answer.headers["Connection"] = "X-Of-The-Server"
        answer.headers["X-Of-The-Server"] = "yes"
        await answer.prepare(request)
        async for chunk in request.content.iter_any():
            await answer.write(chunk.upper())
        await answer.write_eof()
        return answer

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("chat",))
        await socket.prepare(request)
        async for message in socket:
            await (socket.send_str if message.type is aiohttp.WSMsgType.TEXT else socket.send_bytes)(message.data)
            if message.data == "bye":
                await socket.close(code=4001)
        return socket

    app = web.Application()
    app.add_routes([web.get("/api/talk", talk), web.route("*", "/api{rest:.*}", repeat)])
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_frontend_passes_its_api_unchanged_and_is_the_main_port_elsewhere(services: Services) -> None:
    port = find_free_port()
    async with backend() as url, serving_with(services, Gateway(frontend=Frontend(port=port, api=url))) as front:
        passed = await front.call("PUT", "/api/a%2Fb?c=%20d", data=b"some words", headers={"X-Given": "e"})
        assert (passed.status, passed.body) == (201, b"SOME WORDS")
        assert (passed.headers["x-path"], passed.headers["x-got"]) == ("/api/a%2Fb?c=%20d", "e")
        assert passed.headers["set-cookie"] == "a=b"
        assert "x-of-the-server" not in passed.headers
        of_a_hop = {"Connection": "keep-alive, X-Of-This-Hop", "X-Of-This-Hop": "yes"}
        assert (await front.get("/api/a", headers=of_a_hop)).headers["x-hop"] == "none"
        assert (await front.get("/corral/v1/tasks")).status == 200
        async with front.session.ws_connect(front.url + "/api/talk", protocols=("chat",)) as talk:
            assert talk.protocol == "chat"
            await talk.send_str("hello")
            assert await talk.receive_str() == "hello"
            await talk.send_bytes(b"\x00\x01")
            assert await talk.receive_bytes() == b"\x00\x01"
            await talk.send_str("bye")
            assert await talk.receive_str() == "bye"
            assert (await talk.receive()).data == 4001


async def test_frontend_streams_in_both_directions(services: Services) -> None:
    more = asyncio.Event()

    async def send_slowly() -> AsyncIterator[bytes]:
        yield b"first"
        await more.wait()
        yield b"second"

    port = find_free_port()
    async with (
        backend() as url,
        serving_with(services, Gateway(frontend=Frontend(port=port, api=url))) as front,
        front.session.post(front.url + "/api/", data=send_slowly()) as answer,
    ):
        assert await answer.content.readexactly(5) == b"FIRST"
        more.set()
        assert await answer.content.read() == b"SECOND"


async def test_frontend_asks_for_keys_as_the_main_port_does(services: Services) -> None:
    async with backend() as url:
        gateway = Gateway(frontend=Frontend(port=find_free_port(), api=url))
        async with serving_with(replace(services, loopback=False), gateway) as front:
            assert (await front.get("/api/x")).status == 401
            keyed = await front.get("/api/x", headers={"Authorization": f"Bearer {services.local_token}"})
            assert keyed.status == 201


async def test_backend_that_is_away_is_an_error_that_names_it(services: Services) -> None:
    gone = f"http://127.0.0.1:{find_free_port()}"
    async with serving_with(services, Gateway(frontend=Frontend(port=find_free_port(), api=gone))) as front:
        answer = await front.get("/api/x")
    assert answer.status == 503
    assert answer.json["error"]["problems"][0]["what"].startswith(f"{gone} does not answer")


async def test_listeners_are_among_what_the_server_reports(services: Services) -> None:
    listener = Listener(port=find_free_port(), owner="family", allow=("127.0.0.0/8",))
    listeners = Listeners()
    listeners.take(Gateway(ollama=listener))
    async with serving(replace(services, listeners=listeners)) as api:
        reported = (await api.get("/corral/v1/status")).json["listeners"]
        findings = (await api.get("/corral/v1/doctor")).json["items"]
    facts = {"name": "ollama", "port": listener.port, "address": "", "owner": "family", "allow": ["127.0.0.0/8"]}
    assert reported == [{**facts, "api": None, "tls": False}]
    (finding,) = [finding for finding in findings if finding["name"] == "listener ollama"]
    assert "speaks for 'family' without a key" in finding["what"]
