"""Serves one websocket: says who is allowed, sends what waits, takes what the client says."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import parse_qs

from corral.errors import CorralError
from corral.gateway.asgi import Scope
from corral.gateway.comfyui.sockets import MOST_SOCKETS, Session, Sockets
from corral.gateway.doors import Doorman
from corral.gateway.routes import Route, name_route

_POLICY_VIOLATION = 1008
_TRY_LATER = 1013


async def serve_socket(
    doorman: Doorman,
    sockets: Sockets,
    scope: Scope,
    receive: Any,  # ASGI's callables, of any server
    send: Any,
) -> None:
    """Serve a websocket until its client or the server ends it; only `/ws` is one."""
    if (await receive())["type"] != "websocket.connect":
        return
    try:
        visitor = await doorman.admit(scope)
    except CorralError:
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    if not scope["path"].endswith("/ws"):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    name_route(scope, Route("/comfyui/ws"))
    query = parse_qs(scope["query_string"].decode("latin-1"))
    client = next(iter(query.get("clientId", [])), None)
    await send({"type": "websocket.accept"})
    if not sockets.has_room(visitor.owner, client):  # only a socket that was accepted can say why it closes
        reason = f"this owner has {MOST_SOCKETS} sockets open, the most there can be: close some"
        await send({"type": "websocket.close", "code": _TRY_LATER, "reason": reason})
        return
    session = await sockets.open(visitor.owner, client)
    sending = asyncio.create_task(_send_waiting(session, send))
    taking = asyncio.create_task(_take_messages(sockets, session, receive))
    try:
        await asyncio.wait({sending, taking}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sockets.close(session)
        for part in (sending, taking):
            part.cancel()
        await asyncio.gather(sending, taking, return_exceptions=True)
    if taking.cancelled():
        with contextlib.suppress(RuntimeError, OSError):  # the client went away just now
            await send({"type": "websocket.close", "code": _TRY_LATER})


async def _send_waiting(session: Session, send: Any) -> None:
    while (message := await session.waiting.get()) is not None:
        key = "text" if isinstance(message, str) else "bytes"
        await send({"type": "websocket.send", key: message})


async def _take_messages(sockets: Sockets, session: Session, receive: Any) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        text = message.get("text")
        if text:
            sockets.take(session, text)
