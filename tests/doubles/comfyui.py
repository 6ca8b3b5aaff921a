"""A ComfyUI for tests: one queue, one worker, history in memory, HTTP and WebSocket on loopback, and ways to fail.

Stands for: a ComfyUI instance as `corral.engines.comfyui` uses it. It runs no models: nodes take no time but the pace
that a test sets, and an image is a small real PNG that follows from seed, prompt and size
(`doubles.comfyui_nodes.picture`).

Checked by reading `server.py`, `execution.py`, `main.py` and `comfy_execution/`, not against a running instance: of
versions around 0.38 for what stands for 0.27.0 (`jobs=True`), and of versions up to 0.8.1, with a description of the
protocol, for what stands for 0.3.64 (`jobs=False`). `contracts/test_comfyui_*.py` says what Corral relies on, and
runs on a real instance as it does here. That is: routes with and without `/api`, bodies and status codes; ids
verbatim in old versions, canonical lower-case UUIDs in new ones (with the jobs routes); no deduplication;
`/history/{id}` empty for unknown and unfinished alike; `progress_state` says that a node runs before `executing`
names it; results of the last prompt are cached, saved files included, whether these are still there or not; the end
is announced before the history has it; a handler goes on when its client is gone; equal uploads keep their name,
different ones are renamed; bodies over a limit that `/features` tells are answered with 413; a second socket of a
client replaces the first; events go to the submitting client, interruptions to all; an Origin is answered with 403;
cancelling what is unknown or ended is no error; an interrupt is seen between two nodes and between two steps; `/free`
takes effect between two prompts; a restart loses queue, history and cache and keeps files; when the worker's thread
dies, its prompt runs for ever.

Not checked: timing, nodes that expand, nodes that wait for others at the same time.

As a program: `python tests/doubles/comfyui.py --port 8188 --seconds-per-image 0.5`.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import struct
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

if __name__ == "__main__":  # as a program, the folder that tests import doubles from is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from doubles import comfyui_files
from doubles.comfyui_connections import ClientSocket, cut_connections, is_canonical
from doubles.comfyui_nodes import CHECKPOINTS, MANY_LORAS, NODES, error, node_errors, object_info, refused_as_a_whole
from doubles.comfyui_worker import ComfyWorker, Item

Json = Any
LOADED = 6 * 2**30
"""Bytes that a loaded model is said to take."""
TOTAL = 16 * 2**30


class ComfyDouble(ComfyWorker):
    """An instance on loopback; `async with ComfyDouble() as comfy:` starts it, `comfy.url` says where."""

    def __init__(
        self,
        *,
        jobs: bool = False,
        cancels: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        device: str = "cuda",
        seconds_per_image: float = 0,
        seconds_per_node: float = 0,
        max_upload_size: int = 100 * 2**20,
    ) -> None:
        """`cancels` is false for versions that list jobs and cannot cancel them by id (0.8.1)."""
        super().__init__(seconds_per_image=seconds_per_image, seconds_per_node=seconds_per_node)
        self.jobs = jobs
        self.cancels = cancels
        self.max_upload_size = max_upload_size
        self._host = host
        self.port = port
        self.device = device
        self.submissions: list[str] = []
        """Ids of all submissions that were accepted, in order; repeated when one was run twice."""
        self.opened_sockets: Counter[str] = Counter()
        """How many sockets each client id has opened."""
        self.requests: list[tuple[str, str]] = []
        self.settings: dict[str, Json] = {}
        """Of its page; survive a restart."""
        self.before_answer: Callable[[web.Request], Awaitable[None]] | None = None
        """Awaited before a request is looked at, so that a test can move the world between two of them."""
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._worker: asyncio.Task[None] | None = None

    # ---- what a test does with it

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> ComfyDouble:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def start(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application(client_max_size=self.max_upload_size, middlewares=[self._guard])
        for prefix in ("", "/api"):
            app.add_routes(self._routes(prefix))
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, self._host, self.port)
        await self._site.start()
        self.port = self._runner.addresses[0][1]
        self._worker = asyncio.create_task(self._work())

    async def die(self) -> None:
        """Stop at once: connections break, queue, history and loaded models are gone."""
        runner, self._runner = self._runner, None
        worker, self._worker = self._worker, None
        if runner is None or worker is None:
            return
        assert self._site is not None
        await self._site.stop()
        cut_connections(runner)
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
        self._clear()
        await self._notify()
        await runner.cleanup()

    async def restart(self) -> None:
        """Die and come back empty, on the same port."""
        await self.die()
        await self.start()

    async def kill_worker(self) -> None:
        """End the worker as an error outside of every node does: its prompt runs for ever, the server goes on."""
        assert self._worker is not None
        self._worker.cancel()
        with suppress(asyncio.CancelledError):
            await self._worker

    async def drop_sockets(self) -> None:
        """Break every WebSocket, and nothing else."""
        for socket in list(self.sockets.values()):
            if socket.transport_ is not None:
                socket.transport_.abort()
        await self.until(lambda: not self.sockets)

    # ---- state

    def _clear(self) -> None:
        super()._clear()
        self.sockets: dict[str, ClientSocket] = {}
        self._number = 0

    # ---- routes

    def _routes(self, prefix: str) -> list[web.RouteDef]:
        routes = [
            web.get(f"{prefix}/prompt", self._get_prompt),
            web.post(f"{prefix}/prompt", self._post_prompt),
            web.get(f"{prefix}/queue", self._get_queue),
            web.post(f"{prefix}/queue", self._post_queue),
            web.post(f"{prefix}/interrupt", self._post_interrupt),
            web.get(f"{prefix}/history", self._list_history),
            web.get(f"{prefix}/history/{{id}}", self._get_history),
            web.post(f"{prefix}/history", self._post_history),
            web.get(f"{prefix}/features", self._get_features),
            web.get(f"{prefix}/view", self._get_view),
            web.post(f"{prefix}/upload/image", self._post_upload),
            web.post(f"{prefix}/upload/mask", self._post_mask),
            web.post(f"{prefix}/free", self._post_free),
            web.get(f"{prefix}/system_stats", self._get_stats),
            web.get(f"{prefix}/object_info", self._get_all_object_info),
            web.get(f"{prefix}/object_info/{{name}}", self._get_object_info),
            web.get(f"{prefix}/models", self._list_folders),
            web.get(f"{prefix}/models/{{folder}}", self._list_models),
            web.get(f"{prefix}/embeddings", self._list_embeddings),
            web.get(f"{prefix}/settings", self._get_settings),
            web.post(f"{prefix}/settings/{{name}}", self._post_setting),
            web.get(f"{prefix}/ws", self._get_socket),
        ]
        if not prefix:
            routes.append(web.get("/", self._get_page))
        if self.jobs and prefix:
            routes += [
                web.get("/api/jobs", self._get_jobs),
                web.get("/api/jobs/{id}", self._get_job),
            ]
        if self.jobs and self.cancels and prefix:
            routes.append(web.post("/api/jobs/{id}/cancel", self._cancel_job))
        return routes

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        await self._notify()
        if self.before_answer is not None:
            await self.before_answer(request)
        if "Origin" in request.headers:
            return web.Response(status=403)
        if self.faults.latency_s:
            await asyncio.sleep(self.faults.latency_s)
        if self.faults.latency_s:
            await asyncio.sleep(self.faults.latency_s)
        if self.faults.silent and not request.path.endswith("/ws"):
            await asyncio.Event().wait()
        return await handler(request)

    async def _get_prompt(self, _: web.Request) -> web.Response:
        return web.json_response(self._queue_info())

    def _queue_info(self) -> Json:
        return {"exec_info": {"queue_remaining": len(self._queue) + (self._current is not None)}}

    async def _post_prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.faults.hold_answers is not None:
            await self.faults.hold_answers.wait()
        if self.faults.refuse_submission is not None:
            return web.json_response(self.faults.refuse_submission, status=self.faults.submission_status)
        answer, status = self._accept(body)
        if status == 200 and self.faults.lose_answer:
            how, self.faults.lose_answer = self.faults.lose_answer, None
            if how == "died":
                self._clear()
            assert request.transport is not None
            request.transport.abort()
        await self._notify()
        return web.json_response(answer, status=status)

    def _accept(self, body: Json) -> tuple[Json, int]:
        if "prompt" not in body:
            return {"error": error("no_prompt", "No prompt provided", "No prompt provided", {}), "node_errors": {}}, 400
        prompt, prompt_id = body["prompt"], str(body.get("prompt_id", uuid.uuid4()))
        if self.jobs and not is_canonical(prompt_id):
            return {"error": error("invalid_prompt_id", "Invalid prompt id", prompt_id, {}), "node_errors": {}}, 400
        whole = refused_as_a_whole(prompt, modern=self.jobs, lacks=self.faults.lacks)
        if whole is not None:
            return {"error": whole, "node_errors": {}}, 400
        good, errors = node_errors(prompt, self._uploads(), modern=self.jobs, lacks=self.faults.lacks)
        if not good:
            listed = [f"{e['message']}: {e['details']}" for node in errors.values() for e in node["errors"]]
            message = "Prompt outputs failed validation"
            failed = error("prompt_outputs_failed_validation", message, "\n".join(listed), {})
            return {"error": failed, "node_errors": errors}, 400
        self._number += 1
        number = float(body.get("number", -self._number if body.get("front") else self._number))
        extra = {**body.get("extra_data", {}), "client_id": body.get("client_id")}
        heapq.heappush(self._queue, Item(number, self._number, prompt_id, prompt, extra, good))
        self.submissions.append(prompt_id)
        return {"prompt_id": prompt_id, "number": number, "node_errors": errors}, 200

    async def _get_queue(self, _: web.Request) -> web.Response:
        running = [self._current.listed()] if self._current else []
        return web.json_response({"queue_running": running, "queue_pending": [i.listed() for i in sorted(self._queue)]})

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._queue.clear()
        self._delete(body.get("delete", []))
        await self._notify()
        return web.Response()

    async def _post_interrupt(self, request: web.Request) -> web.Response:
        body: Json = await request.json() if request.can_read_body else {}
        wanted = body.get("prompt_id")
        if not wanted or wanted == self.running:
            self._interrupt = self._current is not None
        await self._notify()
        return web.Response()

    async def _list_history(self, _: web.Request) -> web.Response:
        return web.json_response(self.history)

    async def _get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        entry = self.history.get(prompt_id)
        return web.json_response({prompt_id: entry} if entry else {})

    async def _post_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        for prompt_id in list(self.history) if body.get("clear") else body.get("delete", []):
            self.history.pop(prompt_id, None)
        return web.Response()

    async def _get_features(self, _: web.Request) -> web.Response:
        return web.json_response(self._features())

    def _features(self) -> Json:
        return {"supports_preview_metadata": True, "max_upload_size": self.max_upload_size}

    async def _get_view(self, request: web.Request) -> web.StreamResponse:
        place, status = comfyui_files.find(request.query)
        if place is None:
            return web.Response(status=status)
        content = self.files.get(place)
        if content is None or self.faults.lose_files:
            return web.Response(status=404)
        if self.faults.break_downloads:
            self.faults.break_downloads -= 1
            return await self._half(request, content)
        return web.Response(body=content, content_type=comfyui_files.guess_type(place[2]))

    async def _half(self, request: web.Request, content: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    async def _post_upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image = form["image"]
        assert isinstance(image, web.FileField)
        kind, folder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        content, name, number = image.file.read(), image.filename, 1
        stem, dot, ending = name.rpartition(".")
        while form.get("overwrite") not in ("true", "1") and self.files.get((kind, folder, name), content) != content:
            name = f"{stem} ({number}){dot}{ending}"
            number += 1
        self.files[kind, folder, name] = content
        return web.json_response({"name": name, "subfolder": folder, "type": kind})

    async def _post_mask(self, request: web.Request) -> web.Response:
        """Keep the original with the mask's bytes after its own, where ComfyUI gives it the mask's transparency."""
        form = await request.post()
        mask, ref = form["image"], json.loads(str(form["original_ref"]))
        assert isinstance(mask, web.FileField)
        kind, folder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        original = self.files.get((ref.get("type", "output"), ref.get("subfolder", ""), ref["filename"]))
        if original is not None:  # without one ComfyUI says a name all the same, and keeps nothing
            self.files[kind, folder, mask.filename] = original + mask.file.read()
        return web.json_response({"name": mask.filename, "subfolder": folder, "type": kind})

    async def _post_free(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._flags.update(name for name in ("unload_models", "free_memory") if body.get(name))
        await self._notify()
        return web.Response()

    async def _get_stats(self, _: web.Request) -> web.Response:
        used = LOADED if self.loaded else 0
        device = {"name": "double", "type": self.device, "index": 0, "vram_total": TOTAL, "vram_free": TOTAL - used}
        device |= {"torch_vram_total": used + 2**20, "torch_vram_free": 2**20}
        system = {"os": "posix", "comfyui_version": "0.27.0" if self.jobs else "0.3.64", "argv": ["main.py"]}
        return web.json_response({"system": system, "devices": [device]})

    async def _get_all_object_info(self, request: web.Request) -> web.Response:
        described = (object_info(name, lacks=self.faults.lacks) for name in NODES)
        return web.json_response({name: node for entry in described for name, node in entry.items()})

    async def _get_object_info(self, request: web.Request) -> web.Response:
        return web.json_response(object_info(request.match_info["name"], lacks=self.faults.lacks))

    async def _list_folders(self, _: web.Request) -> web.Response:
        return web.json_response(["checkpoints", "loras"])

    async def _list_models(self, request: web.Request) -> web.Response:
        models = {"checkpoints": CHECKPOINTS, "loras": MANY_LORAS}.get(request.match_info["folder"])
        if models is None:
            return web.Response(status=404)
        return web.json_response([model for model in models if model not in self.faults.lacks])

    async def _list_embeddings(self, _: web.Request) -> web.Response:
        return web.json_response([])

    async def _get_page(self, _: web.Request) -> web.Response:
        return web.Response(text=f"<title>ComfyUI</title> {self.port}", content_type="text/html")

    async def _get_settings(self, _: web.Request) -> web.Response:
        return web.json_response(self.settings)

    async def _post_setting(self, request: web.Request) -> web.Response:
        self.settings[request.match_info["name"]] = await request.json()
        return web.Response()

    # ---- jobs routes of newer versions

    async def _get_jobs(self, _: web.Request) -> web.Response:
        jobs = [self._job(prompt_id) for prompt_id in [*self.history, *self.pending]]
        pages = {"offset": 0, "limit": len(jobs), "total": len(jobs), "has_more": False}
        return web.json_response({"jobs": jobs, "pagination": pages})

    async def _get_job(self, request: web.Request) -> web.Response:
        job = self._job(request.match_info["id"])
        return web.json_response(job) if job else web.json_response({"error": "Job not found"}, status=404)

    def _job(self, prompt_id: str) -> Json:
        if prompt_id == self.running:
            return {"id": prompt_id, "status": "in_progress", "outputs_count": 0}
        if prompt_id in self.pending:
            return {"id": prompt_id, "status": "pending", "outputs_count": 0}
        entry = self.history.get(prompt_id)
        if entry is None:
            return None
        events = [event for event, _ in entry["status"]["messages"]]
        failed = "cancelled" if "execution_interrupted" in events and self.cancels else "failed"
        status = "completed" if entry["status"]["status_str"] == "success" else failed
        outputs = comfyui_files.rewrite_outputs(entry["outputs"])
        return {"id": prompt_id, "status": status, "outputs": outputs, "execution_status": entry["status"]}

    async def _cancel_job(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        cancelled = prompt_id == self.running or prompt_id in self.pending
        if prompt_id == self.running:
            self._interrupt = True
        self._delete([prompt_id])
        await self._notify()
        return web.json_response({"cancelled": cancelled})

    # ---- the socket

    async def _get_socket(self, request: web.Request) -> web.StreamResponse:
        if self.faults.refuse_sockets:
            return web.Response(status=503)
        response = web.WebSocketResponse()
        await response.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        socket = ClientSocket(response, request.transport)
        self.sockets[sid] = socket
        self.opened_sockets[sid] += 1
        await self._notify()
        await self._tell(sid, "status", {"status": self._queue_info(), "sid": sid})
        try:
            async for message in response:
                if message.type is WSMsgType.TEXT:
                    await self._take_flags(sid, socket, json.loads(message.data))
        finally:
            if self.sockets.get(sid) is socket:
                del self.sockets[sid]
            await self._notify()
        return response

    async def _take_flags(self, sid: str, socket: ClientSocket, message: Json) -> None:
        if message.get("type") == "feature_flags":
            socket.with_metadata = bool(message["data"].get("supports_preview_metadata"))
            await self._tell(sid, "feature_flags", self._features())
            await self._notify()

    async def _tell(self, sid: str | None, event: str, data: Json) -> None:
        for socket in self._addressed(sid):
            with suppress(ConnectionError):
                await socket.response.send_json({"type": event, "data": data})

    def _addressed(self, sid: str | None) -> list[ClientSocket]:
        if sid is None:
            return list(self.sockets.values())
        return [self.sockets[sid]] if sid in self.sockets else []

    async def _show(self, item: Item, node_id: str, image: bytes) -> None:
        for socket in self._addressed(item.extra["client_id"]):
            metadata = json.dumps({"node_id": node_id, "prompt_id": item.prompt_id, "image_type": "image/png"}).encode()
            frame = (
                struct.pack(">II", 4, len(metadata)) + metadata if socket.with_metadata else struct.pack(">II", 1, 2)
            )
            with suppress(ConnectionError):
                await socket.response.send_bytes(frame + image)
                # An event of the future: clients ignore it.
                await socket.response.send_bytes(struct.pack(">I", 99) + b"???")


async def _serve(host: str, port: int, seconds_per_image: float, latency_s: float, *, jobs: bool) -> None:
    double = ComfyDouble(jobs=jobs, host=host, port=port, seconds_per_image=seconds_per_image)
    double.faults.latency_s = latency_s
    async with double:
        sys.stdout.write(f"listening on {double.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Run the double as a program until it is killed."""
    parser = argparse.ArgumentParser(description="A ComfyUI double for tests.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--seconds-per-image", type=float, default=0.5)
    parser.add_argument("--latency-s", type=float, default=0)
    parser.add_argument("--jobs", action="store_true", help="serve the jobs routes of newer versions")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.host, options.port, options.seconds_per_image, options.latency_s, jobs=options.jobs))


if __name__ == "__main__":
    main()
