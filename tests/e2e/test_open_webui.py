"""The calls of Open WebUI, 40 of them, at a server with keys: chats, speech and recordings by real models, pictures.

As its public sources make them (`routers/{openai,ollama,audio,images}.py`, `utils/images/comfyui.py`), with its headers
and fields: it asks for voices and models of speech without its key, uploads pictures below `/api`, and reads a prompt's
history as soon as its socket says that nothing is executed any more. The server is started as users do; the Ollama and
the ComfyUI behind it are doubles.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import av
import pytest

from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from corral.data_dir import find_server
from doubles.comfyui import ComfyDouble
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import image_to_image, text_to_image
from doubles.local_engines import LLAMA, PIPER, REPOSITORY, WHISPER, real_models
from doubles.ollama import OllamaDouble
from doubles.short_folders import lend_short_folder
from doubles.words import word_error_rate

Json = Any
CLUSTER = """\
apiVersion: corral/v1
name: home
nodes: [{{name: here, gpus: [], cpu: {{slots: 3}}}}]
engines:
  kokoro: {{enabled: false}}
  inspect: {{enabled: false}}
  onnx: {{enabled: false}}
  llama: {{options: {{contextSize: 2048, pooling: mean}}}}
  ollama: {{instances: [{{name: pc, url: "{ollama}"}}]}}
  comfyui: {{instances: [{{name: studio, url: "{comfy}"}}]}}
gateway:
  publicLists: true
  models:
    fox: {{workflow: fox.json, aliases: [dall-e-3]}}
    edit: {{workflow: edit.json}}
"""
LINE = "The ships in the harbor are waiting for the tide."
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
USER = {
    "X-OpenWebUI-User-Name": "Ada",
    "X-OpenWebUI-User-Id": "1",
    "X-OpenWebUI-User-Email": "ada@example.org",
    "X-OpenWebUI-User-Role": "admin",
}


@dataclass
class WebUi:
    """Open WebUI's side: three connections to one server, with one key."""

    url: str
    key: str
    session: aiohttp.ClientSession
    calls: int = 0
    refused: list[int] = field(default_factory=list[int])

    async def ask(self, method: str, path: str, *, keyed: bool = True, status: int = 200, **request: Any) -> bytes:
        """Send one request, and return its body."""
        self.calls += 1
        headers = USER | ({"Authorization": f"Bearer {self.key}"} if keyed else {})
        async with self.session.request(method, self.url + path, headers=headers, **request) as answer:
            body = await answer.read()
            assert answer.status == status, (path, answer.status, body[:500])
            return body

    async def ask_json(self, method: str, path: str, **request: Any) -> Json:
        return json.loads(await self.ask(method, path, **request))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with the models of the store, whose path is short enough for PostgreSQL's socket."""
    with lend_short_folder() as folder:
        real_models()
        (folder / "data").mkdir()
        (folder / "data" / "models").symlink_to(REPOSITORY / ".cache" / "models")
        (folder / "fox.json").write_text(json.dumps(text_to_image()))
        (folder / "edit.json").write_text(json.dumps({**image_to_image(), "places": {"image": "10.image"}}))
        yield folder


@pytest.fixture
async def webui(folder: Path, database_url: str) -> AsyncIterator[WebUi]:
    async with AsyncExitStack() as stack:
        ollama = await stack.enter_async_context(OllamaDouble())
        comfy = await stack.enter_async_context(ComfyDouble())
        file, data = folder / "cluster.yaml", folder / "data"
        file.write_text(CLUSTER.format(ollama=ollama.url, comfy=comfy.url))
        env = {"CORRAL_DATABASE_URL": database_url}
        server = corral_up(data, file, folder / "server.log", "--require-token", env=env)
        await stack.enter_async_context(keeping(server))
        client = await stack.enter_async_context(PatientClient(data))
        await client.leading()
        presence = find_server(data)
        assert presence is not None
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)))
        yield WebUi(presence.url, await create_key(data), session)
        await server.stop()


async def create_key(data: Path) -> str:
    argv = [sys.executable, "-m", "corral", "tokens", "create", "webui", "-q"]
    env = {**os.environ, "CORRAL_DATA_DIR": str(data)}
    done = await asyncio.to_thread(subprocess.run, argv, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.timeout(480)
async def test_forty_calls_of_open_webui(webui: WebUi) -> None:
    await connect(webui)
    await chat(webui)
    await chat_by_ollama(webui)
    await listen_and_speak(webui)
    await draw_by_openai(webui)
    await draw_by_comfyui(webui)
    assert webui.calls == 40


async def connect(webui: WebUi) -> None:
    """The settings' pages verify each connection, and its lists are read for every page."""
    listed = await webui.ask_json("GET", "/v1/models")  # 1
    assert {LLAMA, PIPER, WHISPER, "smol:latest", "fox", "edit"} <= {model["id"] for model in listed["data"]}
    assert (await webui.ask_json("GET", "/api/version"))["version"]  # 2
    tags = (await webui.ask_json("GET", "/api/tags"))["models"]  # 3
    assert {LLAMA, "smol:latest"} <= {model["model"] for model in tags}
    loaded = (await webui.ask_json("GET", "/api/ps"))["models"]  # 4
    assert all(datetime.fromisoformat(model["expires_at"]).timestamp() for model in loaded)
    nodes = await webui.ask_json("GET", "/comfyui/object_info")  # 5
    assert nodes["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0]
    for path in ("/v1/models", "/api/tags", "/comfyui/object_info"):  # 6-8: a key that was mistyped
        await webui.ask("GET", path, keyed=False, status=401)


async def chat(webui: WebUi) -> None:
    """A chat with its title, tags and follow-ups, which are chats of their own; documents are embedded in batches."""
    body = {"model": LLAMA, "messages": QUESTION, "max_tokens": 24, "temperature": 0, "stream": True}
    body |= {"stream_options": {"include_usage": True}, "user": {"name": "Ada", "id": "1", "role": "admin"}}
    events = (await webui.ask("POST", "/v1/chat/completions", json=body)).decode().split("\n\n")  # 9
    said = [json.loads(event[6:]) for event in events if event.startswith("data: {")]
    words = "".join(piece["choices"][0]["delta"].get("content") or "" for piece in said if piece["choices"])
    assert "Paris" in words
    assert said[-1]["usage"]["completion_tokens"] > 3
    assert [event for event in events if event][-1] == "data: [DONE]"
    turns = [*QUESTION, {"role": "assistant", "content": words}, {"role": "user", "content": "And of Italy?"}]
    again = {**body, "messages": [{"role": "system", "content": "Be short."}, *turns]}
    assert b"data: [DONE]" in await webui.ask("POST", "/v1/chat/completions", json=again)  # 10
    for task in ("Make a title for this chat.", "List three tags.", "Suggest a question."):  # 11-13
        asked = {"model": LLAMA, "messages": [{"role": "user", "content": task}], "stream": False, "max_tokens": 8}
        answer = await webui.ask_json("POST", "/v1/chat/completions", json=asked)
        assert answer["choices"][0]["message"]["content"]
    texts = ["The tide is low.", "The ships wait.", "Foxes sleep."]
    vectors = await webui.ask_json("POST", "/v1/embeddings", json={"input": texts, "model": LLAMA})  # 14
    assert [len(entry["embedding"]) for entry in vectors["data"]] == [576] * 3
    query = await webui.ask_json("POST", "/v1/embeddings", json={"input": ["tide"], "model": LLAMA})  # 15
    assert len(query["data"]) == 1
    unknown = await webui.ask_json("POST", "/v1/chat/completions", status=404, json={**body, "model": "gone"})  # 16
    assert "gone" in unknown["error"]["message"]


async def chat_by_ollama(webui: WebUi) -> None:
    """The same by Ollama's protocol, for models of either kind of server."""
    for model in (LLAMA, "smol:latest"):
        shown = await webui.ask_json("POST", "/api/show", json={"model": model})  # 17, 21
        assert "completion" in shown["capabilities"]
        body = {"model": model, "messages": QUESTION, "options": {"num_predict": 12, "temperature": 0}}
        lines = (await webui.ask("POST", "/api/chat", data=json.dumps(body))).splitlines()  # 18, 22
        assert json.loads(lines[-1])["done"] is True
        assert "".join(json.loads(line)["message"]["content"] for line in lines)
        text = {"model": model, "prompt": "One, two,", "stream": False, "options": {"num_predict": 3}}
        assert (await webui.ask_json("POST", "/api/generate", json=text))["response"]  # 19, 23
        unload = {"model": model, "prompt": "", "keep_alive": 0}
        assert json.loads(await webui.ask("POST", "/api/generate", json=unload))["done"] is True  # 20, 24
    vectors = {"model": "nomic-embed-text", "input": ["The tide is low.", "Foxes sleep."]}
    assert len((await webui.ask_json("POST", "/api/embed", json=vectors))["embeddings"]) == 2  # 25
    pulled = await webui.ask_json("POST", "/api/pull", status=403, json={"model": "new"})  # 26: its key only submits
    assert "cannot change models" in pulled["error"]


async def listen_and_speak(webui: WebUi) -> None:
    """Voices and models are asked for without a key; an answer is read aloud sentence by sentence."""
    voices = await webui.ask_json("GET", "/v1/audio/voices", keyed=False)  # 27
    assert all(voice["id"] and voice["name"] for voice in voices["voices"])
    models = await webui.ask_json("GET", "/v1/audio/models", keyed=False)  # 28
    assert {PIPER, WHISPER} <= {model["id"] for model in models["models"]}
    asked = {"input": LINE, "voice": "alloy", "model": "tts-1"}
    spoken = await webui.ask("POST", "/v1/audio/speech", json=asked)  # 29
    container: Any  # of sound that is read
    with av.open(io.BytesIO(spoken)) as container:
        assert container.format.name == "mp3"
    assert await webui.ask("POST", "/v1/audio/speech", json={**asked, "input": "The tide is low."})  # 30
    for fields in ({"model": "whisper-1"}, {"model": WHISPER, "language": "en"}):  # 31-32
        form = aiohttp.FormData({**fields})
        form.add_field("file", spoken, filename="speech.mp3", content_type="audio/mpeg")
        heard = await webui.ask_json("POST", "/v1/audio/transcriptions", data=form)
        assert word_error_rate(LINE, heard["text"]) <= 0.2  # two of its ten words, on some processors


async def draw_by_openai(webui: WebUi) -> None:
    asked = {"model": "dall-e-3", "prompt": "a red fox", "n": 1, "size": "32x32", "response_format": "b64_json"}
    (image,) = (await webui.ask_json("POST", "/v1/images/generations", json=asked))["data"]  # 33
    drawn = base64.b64decode(image["b64_json"])
    assert drawn.startswith(b"\x89PNG")
    form = aiohttp.FormData({"model": "edit", "prompt": "a red fox at night", "n": "1", "response_format": "b64_json"})
    form.add_field("image", drawn, filename="fox.png", content_type="image/png")
    (edited,) = (await webui.ask_json("POST", "/v1/images/edits", data=form))["data"]  # 34
    assert base64.b64decode(edited["b64_json"]) != drawn


async def draw_by_comfyui(webui: WebUi) -> None:
    base = "/comfyui"
    form = aiohttp.FormData()
    form.add_field("image", picture(seed=1, prompt="mine"), filename="mine.png", content_type="image/png")
    form.add_field("type", "input")
    uploaded = await webui.ask_json("POST", f"{base}/api/upload/image", data=form)  # 35
    edit = text_to_image(seed=7)
    edit["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    edit["10"] = {"class_type": "LoadImage", "inputs": {"image": uploaded["name"]}}
    headers = {"Authorization": f"Bearer {webui.key}"}
    webui.calls += 1
    async with webui.session.ws_connect(f"{webui.url}{base}/ws?clientId=webui", headers=headers) as socket:  # 36
        asked = {"prompt": edit, "client_id": "webui"}
        prompt_id = (await webui.ask_json("POST", f"{base}/prompt", json=asked))["prompt_id"]  # 37
        async with asyncio.timeout(60):
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                said = json.loads(message.data)
                if said["type"] == "executing" and said["data"] == {
                    **said["data"],
                    "node": None,
                    "prompt_id": prompt_id,
                }:
                    break
    history = (await webui.ask_json("GET", f"{base}/history/{prompt_id}"))[prompt_id]  # 38: it is there by then
    (image,) = history["outputs"]["9"]["images"]
    query = f"filename={image['filename']}&subfolder={image['subfolder']}&type={image['type']}"
    assert (await webui.ask("GET", f"{base}/view?{query}")).startswith(b"\x89PNG")  # 39
    await webui.ask("GET", f"{base}/view?{query}", keyed=False, status=401)  # 40
