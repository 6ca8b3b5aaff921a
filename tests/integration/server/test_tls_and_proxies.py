"""The server behind a reverse proxy, and with a certificate of its own."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from corral.cluster.gateway_values import Gateway, Listener
from corral.cluster.values import ServerRules
from corral.errors import ProblemsError
from corral.server.api.app import create_app, end_streams
from corral.server.connections import make_server_config
from corral.server.keys.failures import FailedKeys
from corral.server.listeners import Listeners
from corral.server.listening import HttpServer, bind
from corral.server.services import Services
from corral.server.tls import TlsFiles, TlsFilesError, follow_files
from doubles.serving import LIMITS, serving
from integration.server.conftest import InEffect


def make_certificate(folder: Path, name: str) -> TlsFiles:
    """Make a certificate that is signed by itself, for localhost."""
    files = TlsFiles(folder / f"{name}.crt", folder / f"{name}.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*command, *subject, "-out", str(files.certificate), "-keyout", str(files.key)], check=True, capture_output=True
    )
    return files


def trusting(services: Services, *proxies: str) -> Services:
    cluster = replace(services.cluster, server=ServerRules(trusted_proxies=proxies))
    return replace(services, in_effect=InEffect(cluster))


@pytest.mark.parametrize(
    ("proxies", "forwarded", "origin"),
    [
        ((), "192.0.2.7", "127.0.0.1"),
        (("127.0.0.1",), "192.0.2.7", "192.0.2.7"),
        (("127.0.0.0/8", "10.0.0.0/8"), "203.0.113.9, 192.0.2.7, 10.0.0.3", "192.0.2.7"),
        (("10.0.0.0/8",), "192.0.2.7", "127.0.0.1"),
    ],
)
async def test_word_of_a_proxy_counts_where_it_is_trusted(
    services: Services, proxies: tuple[str, ...], forwarded: str, origin: str
) -> None:
    async with serving(trusting(services, *proxies)) as api:
        headers = {"X-Forwarded-For": forwarded, "Authorization": f"Bearer {services.local_token}"}
        made = await api.post("/corral/v1/tokens", {"name": "ada", "role": "viewer"}, headers=headers)
        assert made.status == 201
        (entry,) = (await api.get("/corral/v1/audit")).json["items"]
        assert entry["origin"] == origin


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Forwarded-Host"])
async def test_what_a_proxy_passes_on_is_never_the_local_administrator(services: Services, header: str) -> None:
    for proxies in ((), ("127.0.0.1",)):
        async with serving(trusting(services, *proxies)) as api:
            assert (await api.get("/corral/v1/tasks", headers={header: "192.0.2.7"})).status == 401
            assert (await api.get("/corral/v1/tasks")).status == 200


async def test_failed_keys_are_counted_by_the_address_behind_a_trusted_proxy(services: Services) -> None:
    keys = replace(services.keys, failures=FailedKeys(most=1))
    async with serving(replace(trusting(services, "127.0.0.1"), keys=keys)) as api:

        async def try_key(address: str) -> int:
            headers = {"X-Forwarded-For": address, "Authorization": "Bearer wrong"}
            return (await api.get("/corral/v1/tasks", headers=headers)).status

        assert [await try_key("192.0.2.7"), await try_key("192.0.2.7"), await try_key("192.0.2.8")] == [401, 429, 401]


@asynccontextmanager
async def encrypted(services: Services, context: ssl.SSLContext) -> AsyncGenerator[tuple[str, str]]:
    """Serve the API on an encrypted port and on a plain one, as the runtime does; yield both URLs."""
    app = create_app(services)
    main, own = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    http = HttpServer(make_server_config(app, LIMITS), context)
    running = asyncio.create_task(http.serve(sockets=[main]))
    assert await http.wait_for_start(running)
    await http.open(own)
    services.listeners.serve(http)
    try:
        yield f"https://localhost:{main.getsockname()[1]}", f"http://127.0.0.1:{own.getsockname()[1]}"
    finally:
        end_streams(app)
        services.listeners.close()
        http.should_exit = True
        await running


async def ask(url: str, files: TlsFiles | None, **request: Any) -> int:
    trust = True if files is None else ssl.create_default_context(cafile=str(files.certificate))
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/corral/v1/status", ssl=trust, **request) as answer,
    ):
        return answer.status


async def test_port_with_a_certificate_speaks_tls_alone_and_commands_here_have_a_plain_one(
    services: Services, tmp_path: Path
) -> None:
    files = make_certificate(tmp_path, "first")
    headers = {"Authorization": f"Bearer {services.local_token}"}
    async with encrypted(services, files.make_context()) as (url, own):
        assert await ask(url, files, headers=headers) == 200
        assert await ask(own, None, headers=headers) == 200
        with pytest.raises(aiohttp.ClientError):
            await ask(url.replace("https", "http"), None, headers=headers)


async def test_listener_is_encrypted_where_the_cluster_file_asks_for_it(services: Services, tmp_path: Path) -> None:
    files = make_certificate(tmp_path, "first")
    plain, secret = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    ports = [taken.getsockname()[1] for taken in (plain, secret)]
    plain.close()
    secret.close()
    gateway = Gateway(ollama=Listener(port=ports[0]), openai=Listener(port=ports[1], tls=True))
    with pytest.raises(ProblemsError, match="has no certificate") as raised:
        Listeners().take(gateway)
    assert [problem.where for problem in raised.value.problems] == ["gateway.openai.tls"]

    listeners = Listeners(has_certificate=True)
    listeners.take(gateway)
    trust = ssl.create_default_context(cafile=str(files.certificate))
    async with (
        encrypted(replace(services, listeners=listeners), files.make_context()),
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"http://127.0.0.1:{ports[0]}/") as answer:
            assert await answer.text() == "Ollama is running"
        async with session.get(f"https://localhost:{ports[1]}/", ssl=trust) as answer:
            assert answer.status == 404  # of OpenAI's door, and by TLS
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{ports[1]}/")


async def test_renewed_certificate_is_taken_without_a_restart(services: Services, tmp_path: Path) -> None:
    files, renewed = make_certificate(tmp_path, "first"), make_certificate(tmp_path, "second")
    context, taken = files.make_context(), asyncio.Event()
    old = TlsFiles(tmp_path / "old.crt", tmp_path / "old.key")
    old.certificate.write_bytes(files.certificate.read_bytes())
    following = asyncio.create_task(follow_files(files, context, every_s=0.01, loaded=taken.set))
    try:
        async with encrypted(services, context) as (url, _):
            renewed.certificate.replace(files.certificate)  # until its key is there, the pair does not fit
            await asyncio.sleep(0.05)
            assert await ask(url, old) == 200
            renewed.key.replace(files.key)
            async with asyncio.timeout(20):
                await taken.wait()
            assert await ask(url, files) == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await ask(url, old)
    finally:
        following.cancel()


def test_files_that_cannot_be_used_are_named_at_the_start(tmp_path: Path) -> None:
    first, second = make_certificate(tmp_path, "first"), make_certificate(tmp_path, "second")
    with pytest.raises(TlsFilesError, match=r"no such file[^$]*missing\.crt"):
        TlsFiles(tmp_path / "missing.crt", first.key).make_context()
    with pytest.raises(TlsFilesError, match="cannot be used"):
        TlsFiles(first.certificate, second.key).make_context()
    (tmp_path / "text.crt").write_text("not a certificate")
    with pytest.raises(TlsFilesError, match="cannot be used"):
        TlsFiles(tmp_path / "text.crt", first.key).make_context()
