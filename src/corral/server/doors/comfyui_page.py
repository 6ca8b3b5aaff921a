"""ComfyUI's page, apart from Corral's own API: custom nodes bring scripts into it, which can do what its origin can.

So the page is at a port of its own, the listener `gateway.comfyui`: another origin. On the main port every answer of
the door is sandboxed: what a browser opens of it runs no script and has no origin. Programs look at no such header.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from corral.cluster.gateway_values import Listener
from corral.gateway.asgi import Exchange, Scope

_PAGE = ("/comfyui", "/comfyui/")
_SANDBOX = (b"content-security-policy", b"sandbox")
_ABSENT = """<!doctype html><meta charset="utf-8"><title>ComfyUI</title>
<h1>ComfyUI's page has a port of its own</h1>
<p>Custom nodes bring scripts into the page, so it is kept apart from Corral's own API on this port.</p>
<p>{hint}</p>
"""
_NO_LISTENER = """Add a listener to the cluster file, and run <code>corral reload</code>:</p>
<pre>gateway:
  comfyui: {port: 8288}</pre>
<p>Then open port 8288 of this machine."""
_ON_LOOPBACK = """On the server's machine it is at <code>http://127.0.0.1:{port}/</code>. To open it from here, give the
listener <code>gateway.comfyui</code> an <code>owner</code> and the networks that it answers (<code>allow</code>)."""


def wants_page(scope: Scope) -> bool:
    """Whether a request is of a browser that opens the page."""
    if scope["method"] not in ("GET", "HEAD") or scope["path"] not in _PAGE:
        return False
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def find_page(host: str, listener: Listener | None) -> str | None:
    """Return the page's address for a browser that reaches the main port by `host`; None where it cannot open it."""
    name = urlsplit(f"//{host}").hostname or ""
    if listener is None or not name or not (listener.allow or _is_loopback(name)):
        return None
    written = f"[{name}]" if ":" in name else name
    return f"{'https' if listener.tls else 'http'}://{written}:{listener.port}/"


async def answer_page(exchange: Exchange, listener: Listener | None) -> None:
    """Send a browser to the page, or answer how to get one."""
    try:
        address = find_page(exchange.headers.get("host", ""), listener)
    except ValueError:  # a host that is not one
        address = None
    if address is not None:
        await exchange.answer(307, b"", "text/plain", {"Location": address})
        return
    hint = _NO_LISTENER if listener is None else _ON_LOOPBACK.format(port=listener.port)
    await exchange.answer(404, _ABSENT.replace("{hint}", hint).encode(), "text/html; charset=utf-8")


def sandbox(send: Any) -> Any:  # ASGI's callables, of any server
    """Return what sends an answer sandboxed."""

    async def send_sandboxed(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            others = [pair for pair in message.get("headers", ()) if pair[0].lower() != _SANDBOX[0]]
            message = {**message, "headers": [*others, _SANDBOX]}
        await send(message)

    return send_sandboxed


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
