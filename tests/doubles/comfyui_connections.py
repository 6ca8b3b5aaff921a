"""The sockets and connections of `doubles.comfyui`, and the ids that it takes."""

from __future__ import annotations

import asyncio
import uuid

from aiohttp import web


class ClientSocket:
    def __init__(self, response: web.WebSocketResponse, transport: asyncio.BaseTransport | None) -> None:
        self.response = response
        self.transport_ = transport if isinstance(transport, asyncio.Transport) else None
        self.with_metadata = False


def cut_connections(runner: web.AppRunner) -> None:
    for connection in list(runner.server.connections) if runner.server is not None else ():
        if connection.transport is not None:
            connection.transport.abort()


def is_canonical(prompt_id: str) -> bool:
    try:
        return str(uuid.UUID(prompt_id)) == prompt_id
    except ValueError:
        return False
