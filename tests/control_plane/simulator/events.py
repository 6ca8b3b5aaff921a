"""Writes events as the kubelet does: the same event again raises its count."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import aiohttp

from control_plane.simulator.api import Api, ApiError
from control_plane.simulator.objects import Json


def format_time(at: datetime | None = None) -> str:
    """Write an instant as Kubernetes does, in whole seconds."""
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Events:
    """Writes the events of one node. They are written in order, one at a time."""

    def __init__(self, api: Api, node: str) -> None:
        self._api = api
        self._node = node
        self._counts: dict[tuple[str, ...], tuple[str, int]] = {}
        self._queue: asyncio.Queue[tuple[Json, str, str, str, str]] = asyncio.Queue()

    def write(self, value: Json, reason: str, message: str, *, field: str = "", is_warning: bool = False) -> None:
        """Write an event about a pod or the node. `field`: the part of it, such as `spec.containers{work}`."""
        self._queue.put_nowait((value, reason, message, field, "Warning" if is_warning else "Normal"))

    async def run(self) -> None:
        """Write what is queued, until cancelled."""
        while True:
            entry = await self._queue.get()
            # An event that the API server refuses, or misses, is lost: its namespace is going away, for example.
            with suppress(ApiError, aiohttp.ClientError, TimeoutError):
                await self._send(*entry)

    async def _send(self, value: Json, reason: str, message: str, field: str, kind: str) -> None:
        metadata = value["metadata"]
        namespace = metadata.get("namespace", "default")
        key = (metadata["uid"], field, reason, message)
        now = format_time()
        path = f"/api/v1/namespaces/{namespace}/events"
        if key in self._counts:
            name, count = self._counts[key]
            self._counts[key] = (name, count + 1)
            await self._api.patch(f"{path}/{name}", {"count": count + 1, "lastTimestamp": now})
            return
        name = f"{metadata['name']}.{uuid4().hex[:16]}"
        self._counts[key] = (name, 1)
        event = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "kind": value["kind"],
                "apiVersion": "v1",
                "name": metadata["name"],
                "namespace": metadata.get("namespace", ""),
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
                "fieldPath": field,
            },
            "reason": reason,
            "message": message,
            "type": kind,
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._api.ask("POST", path, event)
