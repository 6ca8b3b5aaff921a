"""The answers of tools: JSON without what is empty, and sometimes a picture or links."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from corral.client.requests import ServerApi
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """The server that a call is about, as its caller can use it."""

    api: ServerApi
    make_link: Callable[[str], str]
    """Gives the URL of a path of the server, for people and programs that the caller hands it to."""
    folder: Path | None
    """Where relative paths start; None where the caller's files are on another machine."""


async def ask_all(*requests: Coroutine[Any, Any, Json]) -> list[Json]:  # what it is sent and given is nothing
    """Send several requests at once and return their answers; one that fails ends the others. Raises: its error."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(request) for request in requests]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A small picture, to be looked at."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A file of the server."""

    url: str
    name: str
    media_type: str
    size: int | None
    """Bytes; None when unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswer:
    """The answer of a tool."""

    value: Json
    picture: Picture | None = None
    links: tuple[Link, ...] = ()

    def write(self) -> str:
        """Write its value as JSON, without what is null or empty."""
        return json.dumps(drop_empty(self.value), ensure_ascii=False, separators=(",", ":"))


def drop_empty(value: Any) -> Json:  # JSON, narrowed here
    """Return JSON without members that are null or empty; false and 0 stay."""
    if isinstance(value, Mapping):
        members = {name: drop_empty(part) for name, part in cast("Mapping[str, Json]", value).items()}
        return {name: part for name, part in members.items() if part is not None and part not in ({}, [], "")}
    if isinstance(value, list | tuple):
        return [drop_empty(part) for part in cast("Iterable[Json]", value)]
    return value


def choose(value: Mapping[str, Json], *names: str) -> dict[str, Json]:
    """Return some members of an object; one that is not there is left out."""
    return {name: value[name] for name in names if name in value}


def summarize_task(task: Mapping[str, Json]) -> dict[str, Json]:
    """Return the line of a task in a list."""
    progress: Json = task.get("progress") or {}
    return {
        **choose(
            task, "id", "name", "batch", "state", "engine", "model", "owner", "slots", "started_at", "finished_at"
        ),
        "failed_attempts": task.get("attempts") or None,
        "progress": choose(progress, "fraction", "note"),
        "error": task.get("error"),
    }


def summarize_batch(batch: Mapping[str, Json]) -> dict[str, Json]:
    """Return the line of a batch."""
    return {
        "batch": batch["id"],
        **choose(batch, "name", "owner", "task_count", "done", "created_at", "by", "deadline", "deliveries"),
        "states": {state: count for state, count in batch["states"].items() if count},
    }


def write_event(event: Mapping[str, Json]) -> str:
    """Write a line of a task's story: when, what, and what belongs to it."""
    at = datetime.fromisoformat(event["at"]).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    details = json.dumps(drop_empty(event["data"]), ensure_ascii=False, separators=(",", ":"))
    return f"{at} {event['kind']}" + ("" if details == "{}" else f" {details[:300]}")
