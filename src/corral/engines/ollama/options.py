"""Ollama's options of one request, by name and type, and its two values with a grammar of their own.

Ollama ignores a name that it does not know and fails late on a wrong type, so both are checked before anything is sent.

Source: `api.Options`, `api.Runner` and `api.Duration` in `api/types.go` of Ollama 0.17.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from corral.engines.schema import EngineInputs
from corral.work import Json

_DURATION = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*")
_SECONDS = re.compile(r"-?\d+")


class ModelOptions(EngineInputs):
    """Ollama's options; what is absent follows from the model."""

    temperature: float | None = Field(None, ge=0, description="0 always takes the likeliest token.")
    seed: int | None = Field(None, description="Same seed, same text.")
    num_predict: int | None = Field(None, ge=-2, description="Most tokens that the model writes; -1 sets no bound.")
    num_ctx: int | None = Field(None, ge=1, description="Tokens of prompt and answer together.")
    stop: list[str] | None = Field(None, max_length=64, description="Texts that end the answer.")
    top_k: int | None = Field(None, ge=0, description="How many tokens are drawn from.")
    top_p: float | None = Field(None, ge=0, le=1, description="Share of probability that tokens are drawn from.")
    min_p: float | None = Field(None, ge=0, le=1, description="Least probability, as a share of the likeliest token's.")
    typical_p: float | None = Field(None, ge=0, le=1, description="Share of tokens that are typical.")
    repeat_last_n: int | None = Field(None, ge=-1, description="How far back repetition is looked for.")
    repeat_penalty: float | None = Field(None, description="How strongly repetition is avoided.")
    presence_penalty: float | None = Field(None, description="Penalty of tokens that were written before.")
    frequency_penalty: float | None = Field(None, description="Penalty of tokens by how often they were written.")
    num_keep: int | None = Field(None, ge=-1, description="Tokens of the prompt that stay when the context is full.")
    num_batch: int | None = Field(None, ge=1, description="Tokens of the prompt that are read at once.")
    num_gpu: int | None = Field(None, ge=-1, description="Layers on the GPU; -1 is as many as fit.")
    main_gpu: int | None = Field(None, ge=0, description="The GPU for what is not split.")
    num_thread: int | None = Field(None, ge=0, description="Threads on the processor; 0 leaves it to Ollama.")
    use_mmap: bool | None = Field(None, description="Whether the model's file is mapped into memory.")


def _check_keep_alive(value: float | str) -> float | str:
    if isinstance(value, str) and not (_DURATION.fullmatch(value) or _SECONDS.fullmatch(value)):
        raise PydanticCustomError("keep_alive", "not seconds and not a duration such as 10m or 1h30m")
    return value


KeepAlive = Annotated[float | str, AfterValidator(_check_keep_alive)]


def write_keep_alive(value: float | str | None) -> float | str | None:
    """Write a time to stay as Ollama takes it: seconds are a number there, and `"-1"` is refused."""
    return int(value) if isinstance(value, str) and _SECONDS.fullmatch(value) else value


_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_OBJECTS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


def _check_schema(schema: dict[str, Any]) -> dict[str, Any]:  # Any: a schema is open by nature
    problem = find_schema_problem(schema)
    if problem is not None:
        raise PydanticCustomError("schema", "not a JSON Schema: {problem}", {"problem": problem})
    return schema


Schema = Annotated[dict[str, Any], AfterValidator(_check_schema)]  # Any: as above


def find_schema_problem(schema: Mapping[str, Json]) -> str | None:
    """Return what is wrong with the words of a JSON Schema that decide its shape; None when nothing is."""
    parts: list[Json] = [schema]
    while parts:
        part = parts.pop()
        if isinstance(part, bool):
            continue
        if not isinstance(part, Mapping):
            return f"{part!r} is not an object"
        words = cast("Mapping[str, Json]", part)  # JSON: the keys are text
        problem = _find_word_problem(words)
        if problem is not None:
            return problem
        parts.extend(member for word in _OBJECTS for member in words.get(word, {}).values())
        parts.extend(member for word in _LISTS for member in words.get(word, []))
        items = words.get("items", True)
        parts.extend(cast("list[Json]", items) if isinstance(items, list) else [items])
    return None


def _find_word_problem(words: Mapping[str, Json]) -> str | None:
    kinds = words.get("type", [])
    for kind in cast("list[Json]", kinds) if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _TYPES:
            return f"{kind!r} is not one of the types {', '.join(sorted(_TYPES))}"
    for word in _OBJECTS:
        if not isinstance(words.get(word, {}), Mapping):
            return f"{word!r} is not an object"
    for word in _LISTS:
        if not isinstance(words.get(word, []), list):
            return f"{word!r} is not a list"
    return None
