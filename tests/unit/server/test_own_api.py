"""The server's own API, as a request that came through a door asks it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from corral.server.doors.own_api import OwnApi

NAME = "ein Bär 50%.txt"


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.path_params['name']}\n{request.scope['raw_path'].decode()}")


async def test_a_name_arrives_as_it_is_whatever_its_letters() -> None:
    scope: dict[str, Any] = {
        "type": "http",
        "headers": [],
        "scheme": "http",
        "method": "POST",
        "path": "/mcp",
        "query_string": b"",
    }
    api = OwnApi(Starlette(routes=[Route("/outputs/{name}", answer)]), scope)
    path = f"/outputs/{quote(NAME, safe='')}"

    content = b"".join([chunk async for chunk in api.read(path)])

    assert content.decode().splitlines() == [NAME, path]
