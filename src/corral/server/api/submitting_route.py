"""A route that FastAPI describes and does not run, for the few that are called hundreds of times a second.

FastAPI resolves the parameters of each request anew and answers through several layers, which takes longer than storing
a task. Here the same endpoint gets the same arguments: the body, the API, a caller who can submit, and the idempotency
key; everything that is wrong with them is reported in the same words.
"""

from __future__ import annotations

import email.message
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, cast

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import StringConstraints, TypeAdapter, ValidationError
from starlette.responses import Response

from corral.server.api.bodies import StrictRequest
from corral.server.api.schemas import Answer
from corral.server.api.state import KEY_PATTERN, MAX_KEY, api_of, caller_of
from corral.server.auth import Role, require

_KEY = TypeAdapter(Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY, pattern=KEY_PATTERN)])

_MISSING = {"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}
"""As pydantic describes a field without a value."""


class SubmittingRoute(APIRoute):
    """A route whose endpoint takes `asked`, `request`, `response`, `api`, `caller` and `idempotency_key`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:  # FastAPI's own signature
        """Return what handles a request."""
        endpoint = cast("Callable[..., Coroutine[Any, Any, Answer]]", self.endpoint)  # by the docstring's contract
        body_field, status = self.body_field, self.status_code
        assert body_field is not None, "the endpoint takes a body"

        async def handle(request: Request) -> Response:
            api = await api_of(request)
            caller = await caller_of(request, api)
            require(caller, Role.SUBMITTER)
            strict = StrictRequest(request.scope, request.receive)
            body = await _body(strict)
            asked, problems = (None, [_MISSING]) if body is None else body_field.validate(body, loc=("body",))
            key, more = _key(request.headers.get("idempotency-key"))
            if problems or more:
                raise RequestValidationError([*more, *problems], body=body)
            response = Response(status_code=status or 200)
            answer = await endpoint(
                asked=asked, request=strict, response=response, api=api, caller=caller, idempotency_key=key
            )
            return Response(answer.model_dump_json(by_alias=True), response.status_code, media_type="application/json")

        return handle


async def _body(request: StrictRequest) -> object:
    """Return the JSON of the body; other types are passed on as bytes, which no model takes."""
    kind = request.headers.get("content-type", "")
    if kind != "application/json":
        message = email.message.Message()
        message["content-type"] = kind
        subtype = message.get_content_subtype()
        if message.get_content_maintype() != "application" or not (subtype == "json" or subtype.endswith("+json")):
            return await request.body() or None
    return await request.json() if await request.body() else None


def _key(given: str | None) -> tuple[str | None, list[Any]]:  # pydantic's descriptions of errors
    if given is None:
        return None, []
    try:
        return _KEY.validate_python(given), []
    except ValidationError as error:
        return None, [{**problem, "loc": ("header", "Idempotency-Key")} for problem in error.errors(include_url=False)]
