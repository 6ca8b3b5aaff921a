"""Bodies of requests: read only for a known caller, bounded in bytes, and JSON in the strict sense."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from corral.errors import CorralError, Kind
from corral.server.api.errors import Refused
from corral.server.api.state import api_of, caller_of
from corral.server.api.strict_json import read_json
from corral.work import Json

MAX_JSON_BYTES = 32 * 1024 * 1024
"""A batch of 10,000 tasks with 3 KiB of inputs each."""


class BodyTooLargeError(CorralError):
    """A body has more bytes than allowed."""

    code: ClassVar[str] = "request.too_large"
    kind: ClassVar[Kind] = Kind.INVALID


class StrictRequest(Request):
    """A request whose body is bounded, and JSON in the strict sense."""

    most_bytes: ClassVar[int] = MAX_JSON_BYTES

    async def body(self) -> bytes:
        """Return the whole body. Raises: Refused when it is too large."""
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            self._refuse_above_bound(int(declared) if declared.isdecimal() else 0)
            chunks = bytearray()
            async for chunk in self.stream():
                chunks += chunk
                self._refuse_above_bound(len(chunks))
            self._body = bytes(chunks)
        return self._body

    async def json(self) -> Json:
        """Return the JSON of the body. Raises: Refused with every problem of it."""
        try:
            api = await api_of(self)
            return await read_json(await self.body(), api.large_bodies)
        except CorralError as error:
            raise Refused(error) from error

    def _refuse_above_bound(self, size: int) -> None:
        if size > self.most_bytes:
            raise Refused(
                BodyTooLargeError(
                    f"the body has more than {self.most_bytes} bytes",
                    hint="upload the tasks and name them in `POST /corral/v1/batches/uploaded`; `corral submit` does",
                )
            )


class SmallRequest(StrictRequest):
    """A request without a token: its body is small."""

    most_bytes: ClassVar[int] = 4096


class StrangersRoute(APIRoute):
    """A route that reads its body before it knows the caller, who is perhaps about to log in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:  # FastAPI's own signature
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def read_small(request: Request) -> Response:
            return await handler(SmallRequest(request.scope, request.receive))

        return read_small


class StrictRoute(APIRoute):
    """A route that reads its body as a `StrictRequest`, once it knows the caller: FastAPI reads it first."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:  # FastAPI's own signature
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()
        takes_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if takes_body:
                await caller_of(request, await api_of(request))
            return await handler(StrictRequest(request.scope, request.receive))

        return strict
