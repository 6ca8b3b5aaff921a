"""Characters between files here and a server: their images first, then all of them in one request."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from corral.client.api import Api
from corral.files import write_whole
from corral.studio.characters.reading import OF_ONE, ReadCharacter
from corral.work import Json

PATH = "/corral/v1/characters"
_NUMBER = re.compile(r"^(\d\d-)+")
"""Of an image that was exported before."""
_TEXTS = ("name", "description", "look", "style", "lora", "voice")


def make_path(name: str, *further: str) -> str:
    """Return the address of a character, or of something of it."""
    return "/".join((PATH, quote(name, safe=""), *further))


async def import_characters(api: Api, characters: Sequence[ReadCharacter]) -> Json:
    """Upload the images and save the characters, all or none; again, it changes nothing. Raises: RemoteError."""
    checksums: dict[Path, str] = {}
    for path in {image for character in characters for image in character.images}:
        checksums[path] = (await api.upload(path))["sha256"]
    bodies = [
        {
            **character.shape.model_dump(exclude={"images"}, exclude_none=True),
            "images": [checksums[image] for image in character.images],
        }
        for character in characters
    ]
    return await api.post(PATH, {"characters": bodies})


async def export_characters(api: Api, folder: Path) -> list[Json]:
    """Write every character into a folder of its own, as `import` reads it; return the characters.

    Raises: RemoteError, DamagedDownloadError, OSError when the disk refuses.
    """
    characters = await api.read_list(PATH, [])
    for character in characters:
        home = folder / character["name"]
        home.mkdir(parents=True, exist_ok=True)
        names: list[str] = []
        images = zip(character["images"], character["image_names"], strict=True)
        for number, (sha256, name) in enumerate(images, start=1):
            path = make_path(character["name"], "images", sha256)
            names.append(f"{number:02}-{_NUMBER.sub('', name)}")
            await api.download(path, home / names[-1], sha256=sha256)
        words = {name: character[name] for name in _TEXTS if character[name] is not None}
        words |= {"images": names} if names else {}
        words |= {"fields": character["fields"]} if character["fields"] else {}
        # JSON is YAML, and has one way to write a text.
        write_whole(home / OF_ONE, json.dumps(words, ensure_ascii=False, indent=2) + "\n")
    return characters
