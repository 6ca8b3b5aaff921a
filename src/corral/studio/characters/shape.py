"""The shape of characters, in files and in requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from corral.cluster.fields import match_whole, wrong
from corral.cluster.machine_shapes import Shape
from corral.requests import Fields, LongWord, Word

MOST_IMAGES = 100
"""Of one character."""
MOST_CHARACTERS = 1000
"""Of one file or request; an owner can have more."""
_OWN = frozenset({"name", "description", "look", "style", "lora", "voice", "image", "images", "fields"})


def _check_field(name: str) -> str:
    if name in _OWN:
        raise wrong(f"`{name}` is not a field of one's own", f"write `{name}` next to `fields`")
    return name


CharacterName = Annotated[
    Word,
    AfterValidator(
        match_whole(
            r"[^\W_][\w .'-]{0,99}", "a name", "a letter or digit, then at most 99 of these, spaces, `.`, `'`, `-`, `_`"
        )
    ),
]
_FieldName = Annotated[
    Word,
    AfterValidator(match_whole(r"[A-Za-z][A-Za-z0-9_]{0,62}", "a field's name", "at most 63 letters, digits, `_`")),
    AfterValidator(_check_field),
]


class CharacterFields(Fields):
    """The words of a character."""

    description: LongWord | None = Field(default=None, description="A description for people.")
    look: LongWord | None = Field(default=None, description="Its look, for prompts.")
    style: LongWord | None = Field(default=None, description="The style of its pictures, for prompts.")
    lora: LongWord | None = Field(default=None, description="The file of its LoRA, as workflows name it.")
    voice: LongWord | None = Field(default=None, description="Its voice, as speech engines name it.")
    fields: dict[_FieldName, LongWord] = Field(
        default_factory=dict[str, str],
        max_length=100,
        description="Whatever else is known of it; places in sets name it, as `{character.armour}`.",
    )


class CharacterShape(CharacterFields, Shape):
    """A character of a file."""

    name: CharacterName = Field(description="Unique among the characters of their owner.")
    images: tuple[LongWord, ...] = Field(
        default=(), max_length=MOST_IMAGES, description="Reference images: paths that start at the file's folder."
    )


class CharactersShape(Shape):
    """A characters file."""

    api_version: Literal["corral/v1"] = Field(description="The version of this file's format.")
    kind: Literal["Characters"] = Field(description="The kind of the file.")
    characters: tuple[CharacterShape, ...] = Field(
        min_length=1, max_length=MOST_CHARACTERS, description="The characters, each name once."
    )
