"""The tools on the protocol's own SDK, over stdin and stdout or as an application for HTTP.

The only module that imports the SDK: it takes a second of processor time and some 60 MB, so it is imported when it is
needed. The SDK speaks the stateless protocol of 2026-07-28 and, to older clients, the handshake before it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    ResourceLink,
    TextContent,
    Tool,
    ToolAnnotations,
)

from corral import __version__
from corral.errors import CorralError
from corral.mcp import tools
from corral.mcp.answers import ToolAnswer, ToolContext
from corral.mcp.arguments import make_schema

_CALL_AGAIN_MS = 3_600_000
"""How long a client can keep the list of tools: it changes with the version of Corral alone."""

MakeContext = Callable[[Any], ToolContext]
"""Makes the context of a call of its HTTP request; of a call over stdin, of None."""


def make_server(make_context: MakeContext) -> Server[Any]:
    """Make the server of the protocol."""

    async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=list_described())

    async def call_tool(request: ServerRequestContext[Any], asked: CallToolRequestParams) -> CallToolResult:
        tool = next((tool for tool in tools.TOOLS if tool.name == asked.name), None)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"there is no tool {asked.name[:80]!r}")
        try:
            return _write(await tool.call(make_context(request.request), asked.arguments or {}))
        except CorralError as error:
            return CallToolResult(content=[TextContent(type="text", text=str(error))], is_error=True)

    return Server(
        "corral",
        title="Corral",
        version=__version__,
        instructions=tools.INSTRUCTIONS,
        cache_hints={"tools/list": CacheHint(ttl_ms=_CALL_AGAIN_MS, scope="public")},
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def list_described() -> list[Tool]:
    """List the tools as the protocol describes them."""
    return [
        Tool(
            name=tool.name,
            title=tool.title,
            description=tool.summary,
            input_schema=make_schema(tool.arguments),
            annotations=ToolAnnotations(
                read_only_hint=tool.reads_only,
                destructive_hint=tool.destroys,
                idempotent_hint=True,
                open_world_hint=False,
            ),
        )
        for tool in tools.TOOLS
    ]


def _write(answer: ToolAnswer) -> CallToolResult:
    content: list[Any] = [TextContent(type="text", text=answer.write())]  # the kinds of content that the protocol has
    if (picture := answer.picture) is not None:
        data = base64.b64encode(picture.content).decode()
        content.append(ImageContent(type="image", data=data, mime_type=picture.media_type))
    content += [
        ResourceLink(type="resource_link", uri=link.url, name=link.name, mime_type=link.media_type, size=link.size)
        for link in answer.links
    ]
    return CallToolResult(content=content)


async def serve_stdio(make_context: MakeContext) -> None:
    """Serve a client over stdin and stdout until it closes them; nothing else can print to stdout meanwhile."""
    server = make_server(make_context)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


class HttpEntrance:
    """The server for HTTP requests that were let in; it keeps no sessions."""

    def __init__(self, make_context: MakeContext) -> None:
        self._manager = StreamableHTTPSessionManager(make_server(make_context), stateless=True)

    def open(self) -> AbstractAsyncContextManager[None]:
        """Serve requests for as long as the context lasts; once only."""
        return self._manager.run()

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        await self._manager.handle_request(scope, receive, send)
