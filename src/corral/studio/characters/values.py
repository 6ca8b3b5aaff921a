"""A character, and its revisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from corral.tasks.values import Sha256
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    """A character of a game or a story, as sets of pictures and voice lines use it."""

    name: str
    """Unique among those of its owner."""
    description: str | None = None
    """For people: who it is."""
    look: str | None = None
    """For prompts: `a woman with short red hair, silver armour`."""
    style: str | None = None
    """For prompts, too: `oil painting`."""
    lora: str | None = None
    """The file of its LoRA, as workflows name it."""
    voice: str | None = None
    """Its voice, as speech engines name it."""
    images: tuple[Sha256, ...] = ()
    """Reference images by their checksums, the best one first."""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """Whatever else is known of it, by names of one's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCharacter(Character):
    """A character as the database has it now."""

    owner: str
    image_names: tuple[str, ...]
    """Of the files of `images`, in the same order."""
    revision: int
    """From 1 on; each change is another one."""
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterRevision:
    """A character as it was after a change."""

    revision: int
    character: Character | None
    """None after it was removed."""
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterChange:
    """A character as it should be from now on."""

    character: Character
    expected: int | None = None
    """The revision that was changed; 0 where there is none yet, and None to change whatever there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCharacter:
    """The result of a change."""

    name: str
    revision: int
    changed: bool
    """False where the character was like this already."""


def list_values(character: Character) -> dict[str, str]:
    """Return what is set of a character by the names that places have: `{character.look}`."""
    named = {name: getattr(character, name) for name in ("name", "description", "look", "style", "lora", "voice")}
    return {name: value for name, value in {**named, **character.fields}.items() if value is not None}


def list_fields(character: Character) -> dict[str, Json]:
    """Return what a set can name of a character, as `{character.look}`; `image` is its best reference image."""
    own: dict[str, Json] = {
        "description": character.description,
        "look": character.look,
        "style": character.style,
        "lora": character.lora,
        "voice": character.voice,
        "image": next(iter(character.images), None),
    }
    given = {name: value for name, value in own.items() if value is not None}
    return {"name": character.name, **given, **character.fields}
