"""Connects use cases with HTTP: their requests are bodies, their results are answers; `corral.wire` makes the JSON.

A use case that computes runs in a thread, at most two at a time: each holds Python's lock for milliseconds, and the
dispatcher shares this process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Annotated, Any

from pydantic import ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from starlette.responses import Response

from corral.wire import to_json

_AT_ONCE = 2
_threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="use-case")
_names: set[str] = set()


def describe_requests(*kinds: type) -> None:
    """Let frozen values be bodies: unknown names are refused, and docstrings of fields describe them."""
    for kind in kinds:
        _document(kind, ConfigDict(extra="forbid", use_attribute_docstrings=True))
        _names.update(field.name for field in fields(kind))


def describe_answers(*kinds: type) -> None:
    """Let docstrings of the fields of frozen values describe them in OpenAPI."""
    for kind in kinds:
        _document(kind, ConfigDict(use_attribute_docstrings=True))


def defer(kind: Any) -> Any:  # Any: a type or a union of types, for FastAPI's `response_model`
    """Return a type whose schema is made when OpenAPI is asked for: at once, all of them take 0.5 s of a start."""
    return Annotated[kind, _Deferred(kind)]


@dataclass(frozen=True, slots=True)
class _Deferred:
    """The schema of what a use case returns. It only describes: `corral.wire` makes the JSON, and nothing checks it."""

    kind: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = TypeAdapter(self.kind).core_schema
        return handler(
            core_schema.definitions_schema(described, [])
        )  # so that it is named, and referred to by its name


def list_names() -> frozenset[str]:
    """Return every name that the request of a use case can have."""
    return frozenset(_names)


async def compute(make: Callable[[], object]) -> Response:
    """Answer with what a use case that computes returns."""
    return await asyncio.get_running_loop().run_in_executor(_threads, lambda: answer(make()))


async def compute_text(make: Callable[[], str], media_type: str) -> Response:
    """Answer with a text that a use case writes: a page or a drawing, which a browser shows without its scripts."""
    text = await asyncio.get_running_loop().run_in_executor(_threads, make)
    headers = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
    return Response(text, media_type=media_type, headers=headers)


def answer(result: object, *, status: int = 200) -> Response:
    """Answer with the JSON of a result."""
    body = json.dumps(to_json(result), ensure_ascii=False, separators=(",", ":"))
    return Response(body, status, media_type="application/json")


def _document(kind: type, config: ConfigDict) -> None:
    setattr(kind, "__pydantic_config__", config)  # noqa: B010 - pydantic's name for it; the value itself knows nothing of HTTP
