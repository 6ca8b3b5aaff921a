"""The websockets of all clients: each gets the events of its own prompts, and how long its owner's queue is.

ComfyUI says that a prompt has ended before its history has it, and once more, with no node, when it has. Here both are
said when the task has ended and its files are kept; what an instance says of an end is not passed on.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import structlog
from pydantic_core import from_json

from corral.gateway.comfyui.shapes import describe_end, describe_outputs, place_files
from corral.gateway.comfyui.workshop import ENDED, Event, Moved, News, Picture, Stage, StoredPrompt, Workshop
from corral.narrowing import as_object
from corral.work import Json

WAITING_MESSAGES = 512
"""Of one socket, before it counts as gone: seconds of previews."""
MOST_SOCKETS = 64
"""Of one owner: more than the tabs and scripts of a person, and far fewer than the connections of a server (each has
up to `WAITING_MESSAGES` of previews in memory)."""
KNOWN_RUNS = 4096
"""Tasks of which it is known whether and for whom they run."""
FEATURES: dict[str, Json] = {"supports_preview_metadata": True, "max_upload_size": 100 * 2**20}

_IMAGE_TYPES = {"image/jpeg": 1, "image/png": 2}
_OF_THE_END = frozenset({"execution_success", "execution_error", "execution_interrupted"})
_log = structlog.get_logger()

Message = str | bytes


@dataclass(slots=True, eq=False)
class Session:
    """One socket."""

    owner: str
    client: str
    wants_metadata: bool = False
    """Whether previews come with their node, as the client asked."""
    waiting: asyncio.Queue[Message | None] = field(
        default_factory=lambda: asyncio.Queue[Message | None](WAITING_MESSAGES)
    )
    """Messages to send; None ends the socket."""

    def say(self, event: str, data: Mapping[str, Json]) -> None:
        """Send a text message; a socket that takes nothing for long is ended."""
        self.put(json.dumps({"type": event, "data": data}, separators=(",", ":")))

    def put(self, message: Message) -> None:
        """Send a message."""
        try:
            self.waiting.put_nowait(message)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """End the socket, with what waits unsent."""
        while not self.waiting.empty():
            self.waiting.get_nowait()
        self.waiting.put_nowait(None)


@dataclass(slots=True)
class _Run:
    """A prompt that runs, and how much its client knows."""

    id: str
    owner: str
    client: str | None
    is_started: bool = False
    node: str | None = None
    """The one that computes now."""
    shown: set[str] = field(default_factory=set[str])
    """Nodes whose outputs were said."""


class Sockets:
    """Every socket of the door."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._sessions: dict[tuple[str, str], Session] = {}
        self._runs: OrderedDict[int, _Run | None] = OrderedDict()
        self._following: asyncio.Task[None] | None = None
        self._follows = asyncio.Event()

    def has_room(self, owner: str, client: str | None) -> bool:
        """Whether an owner can have one more socket; one that takes the place of another always can."""
        count = sum(of == owner for of, _ in self._sessions)
        return count < MOST_SOCKETS or (owner, client) in self._sessions

    async def open(self, owner: str, client: str | None) -> Session:
        """Add a socket; one that had the same client id gets nothing from now on."""
        session = Session(owner, client or uuid4().hex)
        if self._following is None or self._following.done():
            self._follows = asyncio.Event()
            self._following = asyncio.create_task(self._follow(), name="comfyui-sockets")
        await self._follows.wait()
        self._sessions[owner, session.client] = session
        session.say("status", {**await self._describe_status(owner), "sid": session.client})
        for run in self._runs.values():
            if run is not None and (run.owner, run.client) == (owner, session.client) and run.node is not None:
                session.say("executing", {"node": run.node, "display_node": run.node, "prompt_id": run.id})
        return session

    def close(self, session: Session) -> None:
        """Remove a socket."""
        if self._sessions.get((session.owner, session.client)) is session:
            del self._sessions[session.owner, session.client]
        if not self._sessions and self._following is not None:
            self._following.cancel()
            self._following = None

    def take(self, session: Session, text: str) -> None:
        """Take a message of a client: the first can say what it understands."""
        try:
            message = as_object(from_json(text))
        except ValueError:
            return
        if message.get("type") == "feature_flags":
            session.wants_metadata = bool(as_object(message.get("data")).get("supports_preview_metadata"))
            session.say("feature_flags", FEATURES)

    async def _describe_status(self, owner: str) -> dict[str, Json]:
        return {"status": {"exec_info": {"queue_remaining": await self._workshop.count_open(owner)}}}

    async def _follow(self) -> None:
        """Pass the news on for as long as there are sockets, whatever happens to the database."""
        while True:
            try:
                async with self._workshop.follow() as stream:
                    self._follows.set()
                    async for news in stream:
                        await self._take_news(news)
                break  # the server stops
            except Exception as error:  # noqa: BLE001 - a lost database or a bug: sockets go on with what comes next
                _log.warning("comfyui_news_lost", error=str(error) or type(error).__name__)
                await asyncio.sleep(1.0)
            finally:
                self._follows.set()
        for session in self._sessions.values():
            session.end()

    async def _take_news(self, news: News) -> None:
        if isinstance(news, Moved):
            await self._take_move(news)
            return
        run = await self._find_run(news.task)
        session = None if run is None or run.client is None else self._sessions.get((run.owner, run.client))
        if run is None:
            return
        if isinstance(news, Picture):
            if session is not None:
                _show(session, run, news)
        else:
            self._take_event(session, run, news)

    async def _find_run(self, task: int) -> _Run | None:
        if task not in self._runs:
            prompt = next(iter(await self._workshop.read([task])), None)
            is_live = prompt is not None and prompt.stage not in ENDED
            self._runs[task] = _Run(prompt.id, prompt.owner, prompt.client) if prompt and is_live else None
            while len(self._runs) > KNOWN_RUNS:
                self._runs.popitem(last=False)
        return self._runs[task]

    def _take_event(self, session: Session | None, run: _Run, event: Event) -> None:
        if event.name in _OF_THE_END or (event.name == "executing" and event.data.get("node") is None):
            return
        if event.name == "execution_start":
            run.shown.clear()
        elif not run.is_started and session is not None:
            session.say("execution_start", {"prompt_id": run.id})
        run.is_started = True
        data = {**event.data, "prompt_id": run.id}
        match event.name:
            case "executing":
                run.node = str(event.data.get("node"))
            case "executed":
                run.shown.add(str(event.data.get("node")))
                data["output"] = place_files(event.data.get("output"), event.task)
            case "progress_state":
                data["nodes"] = _rename(as_object(event.data.get("nodes")), run.id)
            case _:
                pass
        if session is not None:
            session.say(event.name, data)

    async def _take_move(self, news: Moved) -> None:
        if news.stage in ENDED:
            await self._end_run(news.task)
        if any(owner == news.owner for owner, _ in self._sessions):
            status = await self._describe_status(news.owner)
            for (owner, _), session in list(self._sessions.items()):
                if owner == news.owner:
                    session.say("status", status)

    async def _end_run(self, task: int) -> None:
        run = self._runs.pop(task, None) or _Run("", "", None)
        prompt = next(iter(await self._workshop.read([task])), None)
        if prompt is None or (prompt.stage is Stage.CANCELLED and prompt.started_ms is None):
            return
        session = self._sessions.get((prompt.owner, prompt.client)) if prompt.client is not None else None
        if session is not None:
            _say_end(session, run, prompt)
        if prompt.stage is Stage.CANCELLED:
            event, data = describe_end(prompt)
            for (owner, _), other in list(self._sessions.items()):
                if owner == prompt.owner and other is not session:
                    other.say(event, data)


def _say_end(session: Session, run: _Run, prompt: StoredPrompt) -> None:
    if prompt.started_ms is not None and not run.is_started:
        session.say("execution_start", {"prompt_id": prompt.id, "timestamp": prompt.started_ms})
    for node, output in describe_outputs(prompt).items():
        if node not in run.shown:
            session.say("executed", {"node": node, "display_node": node, "output": output, "prompt_id": prompt.id})
    event, data = describe_end(prompt)
    session.say(event, data)
    session.say("executing", {"node": None, "prompt_id": prompt.id})


def _rename(nodes: Mapping[str, Json], prompt_id: str) -> dict[str, Json]:
    return {node: {**as_object(state), "prompt_id": prompt_id} for node, state in nodes.items()}


def _show(session: Session, run: _Run, picture: Picture) -> None:
    node = run.node or ""
    if picture.media_type.startswith("text/"):
        name = node.encode()
        session.put(struct.pack(">II", 3, len(name)) + name + picture.data)
        return
    if session.wants_metadata:
        metadata = {
            "node_id": node,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
            "prompt_id": run.id,
            "image_type": picture.media_type,
        }
        head = json.dumps(metadata).encode()
        session.put(struct.pack(">II", 4, len(head)) + head + picture.data)
    elif picture.media_type in _IMAGE_TYPES:
        session.put(struct.pack(">II", 1, _IMAGE_TYPES[picture.media_type]) + picture.data)
