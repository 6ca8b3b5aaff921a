"""A server's HTTP API as the command line sees it, without queue, database or engines.

Stands for: the part of the API that `corral run` and `corral submit` use (batches with idempotency keys, tasks, event
stream, outputs, slots, status), as docs of the API describe it. The test is the engine: it says when a task starts and
ends. Failure modes: the event stream is refused or broken, requests fail for a while, an output arrives damaged.
Does not stand for: checks of submissions, scheduling, permissions.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from corral.requests import fill_in

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class ApiDouble:
    """One made-up server; its tasks change only by the methods below."""

    url: str = ""
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    batches: dict[int, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    contents: dict[tuple[int, str], bytes] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    """Names of outputs that arrive with other bytes than promised."""
    streams_refused: bool = False
    failing: int = 0
    """How many of the next requests are answered with 503."""
    cancelled: list[int] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever the batch was read."""
    streaming: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while somebody listens to the event stream."""
    _listeners: list[asyncio.Queue[str | None]] = field(default_factory=list)
    _events: int = 0

    def start(self, id: int, slot: str = "n/cpu0") -> None:
        """Let a task start on a slot."""
        self.tasks[id].update(state="running", slots=[slot], started_at=self._at(id))
        self._tell("started", id)

    def finish(self, id: int, outputs: dict[str, bytes] | None = None, result: Any = None) -> None:
        """Let a task succeed with these outputs, ten seconds after its start."""
        described = []
        for name, content in (outputs or {}).items():
            self.contents[id, name] = content
            digest = hashlib.sha256(content).hexdigest()
            described.append({"name": name, "sha256": digest, "size": len(content), "media_type": "text/plain"})
        self._end(id, state="succeeded", outputs=described, result=result)

    def fail(self, id: int, what: str) -> None:
        """Let a task fail for good."""
        self._end(id, state="failed", error={"code": "engine.failed", "what": what, "where": None, "hint": "mend it"})

    def break_streams(self) -> None:
        """End every open event stream; clients may come back."""
        for listener in self._listeners:
            listener.put_nowait(None)

    def _end(self, id: int, **changes: Any) -> None:
        if self.tasks[id]["started_at"] is None:
            self.start(id)
        self.tasks[id].update(changes, finished_at=self._at(id, 10))
        self._tell(changes["state"], id)

    def _at(self, id: int, seconds: float = 0) -> str:
        return (START + timedelta(seconds=10 * id + seconds)).isoformat()

    def _tell(self, kind: str, id: int) -> None:
        self._events += 1
        data = {"id": self._events, "at": self._at(id), "task": id, "batch": 1, "kind": kind, "data": {}}
        for listener in self._listeners:
            listener.put_nowait(f"id: {self._events}\nevent: {kind}\ndata: {json.dumps(data)}\n\n")

    def tell_progress(self, id: int, fraction: float, note: str) -> None:
        """Send live progress of a task."""
        data = {"task": id, "batch": 1, "slot": "n/cpu0", "fraction": fraction, "note": note}
        for listener in self._listeners:
            listener.put_nowait(f"event: progress\ndata: {json.dumps(data)}\n\n")

    # --- the routes ------------------------------------------------------------------------------------------------

    async def submit(self, request: web.Request) -> web.Response:
        key, body = request.headers.get("Idempotency-Key"), await request.json()
        if key in self.keys:
            return web.json_response({"batch": self._batch(self.keys[key]), "tasks": [], "replayed": True})
        batch = len(self.batches) + 1
        self.batches[batch] = {"id": batch, "name": body["name"], "owner": "local", "created_at": START.isoformat()}
        if key:
            self.keys[key] = batch
        for task in body["tasks"]:
            id = len(self.tasks) + 1
            self.tasks[id] = {**_TASK, **fill_in(task, body.get("defaults", {})), "id": id, "batch": batch, "files": {}}
        return web.json_response({"batch": self._batch(batch), "tasks": [], "replayed": False}, status=201)

    def _batch(self, batch: int) -> dict[str, Any]:
        own = [task["state"] for task in self.tasks.values() if task["batch"] == batch]
        states = {state: own.count(state) for state in set(own)}
        done = all(state in ("succeeded", "failed", "cancelled") for state in own)
        return {**self.batches[batch], "task_count": len(own), "states": states, "done": done}

    async def list_tasks(self, request: web.Request) -> web.Response:
        batch, after = int(request.query["batch"]), int(request.query.get("cursor", 0))
        own = [task for task in self.tasks.values() if task["batch"] == batch and task["id"] > after]
        page = own[:2]  # small pages, so that every test reads over several
        self.reads.set()
        return web.json_response({"items": page, "next": str(page[-1]["id"]) if len(own) > 2 else None})

    async def get_task(self, request: web.Request) -> web.Response:
        return web.json_response(self.tasks[int(request.match_info["id"])])

    async def get_output(self, request: web.Request) -> web.Response:
        id, name = int(request.match_info["id"]), request.match_info["name"]
        self.downloads.append(name)
        content = self.contents[id, name]
        return web.Response(body=b"other" if name in self.damaged else content)

    async def cancel_batch(self, request: web.Request) -> web.Response:
        batch = int(request.match_info["id"])
        self.cancelled.append(batch)
        for task in self.tasks.values():
            if task["batch"] == batch and task["finished_at"] is None:
                self._end(task["id"], state="cancelled")
        return web.json_response(self._batch(batch))

    async def slots(self, request: web.Request) -> web.Response:
        running = next((task for task in self.tasks.values() if task["state"] == "running"), None)
        held = running and {"task": running["id"], "owner": "local", "engine": running["engine"], "model": None}
        place = {"device": "n/cpu0", "group": "n/cpu0", "device_model": "cpu", "gate": "open", "progress": None}
        engine = running["engine"] if running else "sleep"
        slot = {**place, "id": f"n/cpu0/{engine}", "engine": engine, "running": held, "held": held}
        return web.json_response({"devices": [], "items": [slot]})

    async def events(self, request: web.Request) -> web.StreamResponse:
        if self.streams_refused:
            return _refusal(429, "no_capacity", "64 streams of events are open")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        listener: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.append(listener)
        await answer.prepare(request)
        await answer.write(b"retry: 2000\n\n")
        self.streaming.set()
        try:
            while (message := await listener.get()) is not None:
                await answer.write(message.encode())
        finally:
            self._listeners.remove(listener)
            self.streaming.clear()
        return answer


_TASK: dict[str, Any] = {
    "model": None, "state": "queued", "inputs": {}, "slots": [], "created_at": START.isoformat(), "queued_at": None,
    "ready_at": None, "started_at": None, "finished_at": None, "attempts": 0, "error": None, "result": None,
    "outputs": [], "progress": None,
}  # fmt: skip


def _refusal(status: int, kind: str, what: str) -> web.Response:
    return web.json_response({"error": {"code": f"double.{kind}", "kind": kind, "what": what}}, status=status)


@asynccontextmanager
async def api_double() -> AsyncIterator[ApiDouble]:
    """Serve a double on a loopback port."""
    double = ApiDouble()

    @web.middleware
    async def sometimes_fail(request: web.Request, handler: Any) -> web.StreamResponse:
        if double.failing > 0:
            double.failing -= 1
            return _refusal(503, "unavailable", "the database is away")
        return await handler(request)

    app = web.Application(middlewares=[sometimes_fail])
    app.router.add_post("/corral/v1/batches", double.submit)
    app.router.add_post("/corral/v1/batches/{id}/cancel", double.cancel_batch)
    app.router.add_get("/corral/v1/tasks", double.list_tasks)
    app.router.add_get("/corral/v1/tasks/{id}", double.get_task)
    app.router.add_get("/corral/v1/tasks/{id}/outputs/{name}", double.get_output)
    app.router.add_get("/corral/v1/slots", double.slots)
    app.router.add_get("/corral/v1/events", double.events)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    double.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield double
    finally:
        double.break_streams()
        await runner.cleanup()
