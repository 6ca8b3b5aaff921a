"""The shape of a set file, in the style of the batch file (camelCase keys)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from corral.batchfile.shape import API_VERSION, DIALECT
from corral.cluster.fields import Name, Text, show_value, wrong
from corral.cluster.machine_shapes import Shape
from corral.engine_kinds import INSPECT
from corral.narrowing import as_list, as_object
from corral.requests import TaskFields
from corral.work import Json

KIND = "Set"
ALL = "all"
MOST_SEEDS = 1000
LARGEST_SEED = 2**32 - 2
"""Every engine takes it (`corral.batchfile.drawing`)."""
MOST_REMAKES = 100
HASH_BITS = 64
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)


def _read_characters(value: object) -> tuple[Mapping[str, Json], ...] | None:
    if value == ALL:
        return None
    characters = [_read_character(entry) for entry in as_list(value)]
    if not characters:
        raise wrong(f"not a list of characters: {show_value(value)}", f"write `{ALL}`, or a list")
    repeated = [name for name, count in Counter(character["name"] for character in characters).items() if count > 1]
    if repeated:
        raise wrong(f"a character is listed twice: {show_value(repeated[0])}", "list it once")
    return tuple(characters)


def _read_character(entry: object) -> Mapping[str, Json]:
    """Read a name, or a character that is written in the set itself."""
    fields: Mapping[str, Json] = {"name": entry} if isinstance(entry, str) else as_object(entry)
    name = fields.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[^/\x00-\x1f]{1,100}", name):
        hint = "write its name (up to 100 characters, no `/`), or a mapping with `name` and what places need, as `look`"
        raise wrong(f"not a character: {show_value(entry)}", hint)
    for field, value in fields.items():
        if not _FIELD.fullmatch(field) or isinstance(value, bool) or not isinstance(value, str | int | float):
            hint = "name fields by letters, digits and `_`, and give each a text or a number"
            raise wrong(f"not a field of a character: {show_value(field)}", hint)
    return fields


def _read_seeds(value: object) -> tuple[int | None, ...]:
    hint = f"write how many, 1 to {MOST_SEEDS}, or a list of different seeds, each 0 to {LARGEST_SEED}"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_SEEDS:
        return (None,) * value
    seeds = as_list(value)
    whole = [seed for seed in seeds if isinstance(seed, int) and not isinstance(seed, bool)]
    fits = all(0 <= seed <= LARGEST_SEED for seed in whole) and len(set(whole)) == len(seeds) <= MOST_SEEDS
    if not seeds or not fits:
        raise wrong(f"not seeds: {show_value(value)}", hint)
    return tuple(whole)


Characters = Annotated[
    tuple[Mapping[str, Json], ...] | None,
    PlainValidator(_read_characters),
    WithJsonSchema(
        {"anyOf": [{"const": ALL}, {"type": "array", "items": {"type": ["string", "object"]}, "minItems": 1}]}
    ),
]
Seeds = Annotated[
    tuple[int | None, ...],
    PlainValidator(_read_seeds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_SEEDS},
                {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED}, "minItems": 1},
            ]
        }
    ),
]


class WorkShape(TaskFields, Shape):
    """A task of the set; its texts can have places, such as `{character.look}`, `{shot}`, `{variant}` and `{seed}`."""

    engine: Text = Field(description="The engine that does the work: `comfyui`, `openai`, ...")
    files: dict[Name, Text] = Field(
        default_factory=dict[str, str],
        description="Input files by name: the SHA-256 of an upload, or a place that holds it.",
    )


class BoundShape(Shape):
    """The values that a measure can have."""

    least: float | None = Field(None, description="Rejected below it.", allow_inf_nan=False)
    most: float | None = Field(None, description="Rejected above it.", allow_inf_nan=False)


def _check_pictures() -> tuple[WorkShape, ...]:
    return (WorkShape(engine=INSPECT.name),)


class SetShape(Shape):
    """A set file."""

    api_version: Literal["corral/v1"] = Field(description="The version of this file's format.")
    kind: Literal["Set"] = Field(description="The kind of the file.")
    name: Name = Field(description="The set's name, unique among those of its owner.")
    characters: Characters = Field(
        None,
        description="`all`, or a list: names of characters, or characters themselves, `{name: elena, look: red hair}`.",
        validate_default=False,
    )
    shots: Annotated[dict[Name, Text], Field(min_length=1, max_length=1000)] = Field(
        description="Shots with their parts of the prompt: `{portrait: head and shoulders}`."
    )
    variants: Annotated[dict[Name, Text], Field(max_length=1000)] = Field(
        default_factory=dict[str, str], description="Variants of each shot, likewise; none when left out."
    )
    seeds: Seeds = Field(
        (None,), description="How many pictures of each combination, or their seeds.", validate_default=False
    )
    task: WorkShape = Field(description="The task that makes a picture.")
    checks: Annotated[tuple[WorkShape, ...], Field(max_length=16)] = Field(
        default_factory=_check_pictures,
        description="Tasks that measure each picture, which is their file `picture`; the numbers among their results "
        "are the measures. `inspect` when left out; an empty list accepts every picture.",
    )
    thresholds: Annotated[dict[Name, BoundShape], Field(max_length=100)] = Field(
        default_factory=dict[str, BoundShape],
        description="Bounds by measure: `{sharpness: {least: 50}, faces: {least: 1, most: 1}}`.",
    )
    distance: Annotated[int, Field(ge=0, le=HASH_BITS, strict=True)] | None = Field(
        None,
        description="Pictures of the set whose perceptual hashes differ in so many bits of 64, or fewer, are "
        "near-duplicates, of which the first is kept.",
    )
    remakes: Annotated[int, Field(ge=0, le=MOST_REMAKES, strict=True)] = Field(
        3, description="How often a rejected picture is made again, each time with another seed."
    )


def json_schema() -> dict[str, Any]:  # JSON
    """Make the JSON Schema of a set file."""
    schema = SetShape.model_json_schema(by_alias=True, mode="validation")
    for definition in schema["$defs"].values():
        definition["title"] = str(definition["title"]).removesuffix("Shape")
    return {"$schema": DIALECT, **schema, "title": "Corral set file"}


assert API_VERSION == "corral/v1", "a literal type holds no constant"
