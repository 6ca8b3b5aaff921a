"""The steps of the Containerfile in a clean environment, and the voice backend that they start; no image is built."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import openai
import pytest

from doubles.local_engines import KOKORO, REPOSITORY, WHISPER, real_models
from doubles.ollama import OllamaDouble
from doubles.short_folders import lend_short_folder
from doubles.words import word_error_rate

CONTAINER = REPOSITORY / "container"
LINE = "The ships in the harbor are waiting for the tide."


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """A folder with what the Containerfile's script installs, and with the models of the store."""
    with lend_short_folder("corral-image") as folder:
        # What a build has: a path, a home, and the settings of this network.
        kept = ("PATH", "HOME", "SSL_CERT_FILE", "PIP_CERT", "PIP_INDEX_URL", "UV_INDEX_URL", "HTTPS_PROXY", "NO_PROXY")
        clean = {name: os.environ[name] for name in kept if name in os.environ} | {"UV_SYSTEM_CERTS": "1"}
        clean |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}
        done = subprocess.run(
            ["sh", CONTAINER / "install.sh", folder / "corral"],
            env=clean,
            capture_output=True,
            text=True,
            timeout=220,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        real_models()
        (folder / "data").mkdir()
        (folder / "data" / "models").symlink_to(REPOSITORY / ".cache" / "models")
        yield folder


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@asynccontextmanager
async def started(image: Path, **variables: str) -> AsyncIterator[str]:
    """Start as the image's entry point does, on loopback; yields the URL once it is ready."""
    port = find_free_port()
    environment = {
        "PATH": f"{image / 'corral' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(image),
        "CORRAL_DATA_DIR": str(image / "data"),
        "CORRAL_CLUSTER": str(image / "no-such-file.yaml"),
        "CORRAL_HOST": "127.0.0.1",
        "CORRAL_PORT": str(port),
        **variables,
    }
    process = await asyncio.create_subprocess_exec("sh", str(CONTAINER / "start.sh"), env=environment, cwd=image)
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(120):
            while not await is_ready(session, url):
                assert process.returncode is None, "it ended"
                await asyncio.sleep(0.2)
        yield url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 60)


async def create_key(image: Path) -> str:
    """As an administrator does in the container."""
    process = await asyncio.create_subprocess_exec(
        str(image / "corral" / "bin" / "corral"),
        *("tokens", "create", "frontend", "-q"),
        env={"PATH": os.environ["PATH"], "HOME": str(image), "CORRAL_DATA_DIR": str(image / "data")},
        stdout=subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode().strip()


async def is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def test_what_the_containerfile_installs_answers_the_audio_routes_and_chats_through_ollama(image: Path) -> None:
    async with OllamaDouble() as ollama, started(image, OLLAMA_URL=ollama.url) as url:
        key = await create_key(image)
        async with (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client,
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
        ):
            listed = {model.id for model in (await client.models.list()).data}
            spoken = await client.audio.speech.create(model="tts-1", voice="alloy", input=LINE)
            heard = await client.audio.transcriptions.create(model=WHISPER, file=("a.mp3", spoken.content))
            voices = await client.get("/audio/voices", cast_to=dict)
            with pytest.raises(openai.BadRequestError, match="does not translate"):
                await client.audio.translations.create(model=WHISPER, file=("a.mp3", spoken.content))
            asked = {"model": next(iter(ollama.models)), "messages": [{"role": "user", "content": "Hello."}]}
            async with session.post(f"{url}/api/chat", json={**asked, "stream": False}) as answer:
                chat = await answer.json()

    assert {KOKORO, WHISPER, *ollama.models} <= listed
    assert word_error_rate(LINE, heard.text) < 0.2
    assert "jf_alpha" in {voice["id"] for voice in voices["voices"]}
    assert chat["message"]["content"]
    written = (image / "data" / "voice.yaml").read_text()
    assert "llama: {enabled: false}" in written


@pytest.mark.parametrize("url", ["ollama:11434", 'http://a"}]}', "http://user:secret@host"])
def test_address_of_ollama_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    environment = {**os.environ, "CORRAL_DATA_DIR": str(tmp_path), "CORRAL_CLUSTER": str(tmp_path / "none")}
    done = subprocess.run(
        ["sh", CONTAINER / "start.sh"],
        env={**environment, "OLLAMA_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "OLLAMA_URL" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_containerfile_runs_the_scripts_that_the_tests_run() -> None:
    text = (CONTAINER / "Containerfile").read_text()
    assert "RUN sh container/install.sh /opt/corral" in text
    assert "COPY container/start.sh /opt/corral/bin/corral-start" in text
    (base,) = re.findall(r"^ARG BASE=.*/python:(\d+\.\d+)-", text, re.MULTILINE)
    assert base == f"{sys.version_info.major}.{sys.version_info.minor}", "the locked files are for this version"
