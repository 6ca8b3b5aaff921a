"""Programs of the doors' benchmarks: `python -m benchmarks.gateway_parts upstream PORT`, `... bare PORT UPSTREAM`.

The upstream answers every chat alike: some 400 bytes of JSON, or 20 events that are written one by one. As a
llama-server does, it says how many requests it does at once: 64. `writing PORT` is one that writes as a model does: 50
events a second, of as many tokens as the request wants. The bare proxy is the gateway's own stack without a
gateway: uvicorn, bare ASGI and Corral's client; it reads the model of each request, and that is all.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httptools
import uvicorn
import uvloop
from pydantic_core import from_json

from corral.gateway.asgi import Exchange
from corral.gateway.upstream import Outgoing, Upstreams

LANES = 64
EVENTS = 20
TOKENS_PER_S = 50
"""Of each stream of an upstream that writes as a model does: more than most people read."""
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "A fox. " * 40}, "finish_reason": "stop"}
_ANSWER = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "model": "tiny", "choices": [_CHOICE]}).encode()
_LISTED = json.dumps({"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "llamacpp"}]}).encode()
_PROPS = json.dumps({"total_slots": LANES}).encode()
_DELTA = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "fox "}}],
}
_EVENT = f"data: {json.dumps(_DELTA)}\n\n".encode()
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LAST = {**_DELTA, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
_ENDING = f"data: {json.dumps(_LAST)}\n\ndata: [DONE]\n\n".encode()
_END = b"%x\r\n%b\r\n0\r\n\r\n" % (len(_ENDING), _ENDING)


_JSON = {"content-type": "application/json"}


class _Upstream(asyncio.Protocol):
    def __init__(self, pause_s: float = 0.0) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._pause_s = pause_s
        self._url = self._body = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._url == b"/v1/chat/completions" and b'"stream":true' in self._body.replace(b" ", b""):
            self._transport.write(_STREAM_HEAD)
            self._write_next(from_json(self._body).get("max_tokens", EVENTS))
            return
        body = {b"/props": _PROPS, b"/v1/models": _LISTED}.get(self._url, _ANSWER)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)

    def _write_event(self, left: int) -> None:
        if not left:
            self._transport.write(_END)
            return
        self._transport.write(_CHUNK)
        self._write_next(left - 1)

    def _write_next(self, left: int) -> None:
        loop = asyncio.get_running_loop()
        if self._pause_s:
            loop.call_later(self._pause_s, self._write_event, left)
        else:
            loop.call_soon(self._write_event, left)


async def _serve_upstream(port: int, pause_s: float = 0.0) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Upstream(pause_s), "127.0.0.1", port)
    await server.serve_forever()


class _BareProxy:
    def __init__(self, upstream: str) -> None:
        self._url = f"{upstream}/v1/chat/completions"
        self._upstreams = Upstreams()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send)
        body = await exchange.read_body()
        assert from_json(body)["model"]
        answer = await self._upstreams.open(
            Outgoing(url=self._url, headers={"content-type": "application/json"}, body=body)
        )
        try:
            passed = [pair for pair in answer.headers if pair[0] in (b"content-type", b"content-length")]
            await exchange.start(answer.status, passed)
            piece = await answer.read_piece()
            while piece and not answer.is_read:
                await exchange.write(piece)
                piece = await answer.read_piece()
            await exchange.end(piece)
        finally:
            answer.close()


def main() -> None:
    """Serve until a signal."""
    match sys.argv[1:]:
        case ["upstream", port]:
            uvloop.run(_serve_upstream(int(port)))
        case ["writing", port]:
            uvloop.run(_serve_upstream(int(port), 1 / TOKENS_PER_S))
        case ["bare", port, upstream]:
            app = _BareProxy(upstream)
            uvicorn.run(app, port=int(port), log_level="error", http="httptools", loop="uvloop", lifespan="off")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
