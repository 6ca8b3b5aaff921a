"""Characters in files, read in steps: YAML, shape, names, images; every problem at once.

A folder has a characters file (`characters.yaml`), or a folder for each character: its images, and its words in
`character.yaml`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.batchfile.validating import recode, validate_shape
from corral.cluster.document import Document, YamlPath
from corral.cluster.machine_shapes import Shape
from corral.cluster.parsing import read
from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.studio.characters.shape import CharacterShape, CharactersShape

FILE = "characters.yaml"
"""A characters file in a folder."""
OF_ONE = "character.yaml"
"""The words of one character, in its folder."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


class CharactersFileError(ProblemsError):
    """Characters that cannot be used; `problems` has every reason, file by file."""

    code: ClassVar[str] = "characters.invalid"


class CharactersFileMissingError(CorralError):
    """There is no such file or folder, or it has no characters."""

    code: ClassVar[str] = "characters.missing"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCharacter:
    """A character of a file, and its images on this machine."""

    shape: CharacterShape
    images: tuple[Path, ...]


def open_characters(path: Path) -> tuple[ReadCharacter, ...]:
    """Read the characters of a file or a folder. Raises: CharactersFileError, CharactersFileMissingError."""
    if not path.is_dir():
        characters, problems = _read_file(path)
    elif (path / FILE).is_file():
        characters, problems = _read_file(path / FILE)
    else:
        characters, problems = _read_folders(path)
    problems += _find_repeated(characters)
    if problems:
        raise CharactersFileError(problems)
    return tuple(characters)


def _read_file(path: Path) -> tuple[list[ReadCharacter], list[Problem]]:
    document = _open(path)
    shape = validate_shape(document, CharactersShape, _find_shape) if _is_mapping(document) else None
    characters: list[ReadCharacter] = []
    for index, character in enumerate(() if shape is None else shape.characters):
        images = [path.parent / Path(image).expanduser() for image in character.images]
        for number, image in enumerate(images):
            if not image.is_file():
                what = f"there is no image {str(image)[:200]!r}"
                document.report(
                    "characters.image", what, at=("characters", index, "images", number), hint="check the path"
                )
        characters.append(ReadCharacter(shape=character, images=tuple(images)))
    return characters, _list_problems(document)


def _read_folders(path: Path) -> tuple[list[ReadCharacter], list[Problem]]:
    """Read each folder as a character; one without words has its name alone."""
    characters: list[ReadCharacter] = []
    problems: list[Problem] = []
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        images = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
        words = folder / OF_ONE
        if not words.is_file() and not images:
            continue
        document = _open(words) if words.is_file() else Document(str(folder), {})
        if _is_mapping(document):
            document.value = {"name": folder.name, **document.value}
            shape = validate_shape(document, CharacterShape, lambda _: CharacterShape)
            if shape is not None:
                named = [folder / name for name in shape.images] or images
                problems += [_lacks(image) for image in named if not image.is_file()]
                characters.append(ReadCharacter(shape=shape, images=tuple(named)))
        problems += _list_problems(document)
    if not characters and not problems:
        hint = f"put `{FILE}` there, or a folder for each character with its images and `{OF_ONE}`"
        raise CharactersFileMissingError("the folder has no characters", where=str(path), hint=hint)
    return characters, problems


def _open(path: Path) -> Document:
    """Read a file's YAML. Raises: CharactersFileMissingError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = f"the file cannot be read: {error}"
        raise CharactersFileMissingError(what, where=str(path), hint="check the path") from error
    return read(text, filename=str(path))


def _is_mapping(document: Document) -> bool:
    if not isinstance(document.value, dict) and not document.problems:
        document.report("cluster.bad_value", "the file must be a mapping", at=(), hint="write `key: value` lines")
    return isinstance(document.value, dict)


def _find_shape(at: YamlPath) -> type[Shape]:
    match at:
        case ("characters", _):
            return CharacterShape
        case _:
            return CharactersShape


def _list_problems(document: Document) -> list[Problem]:
    return [recode(problem, "characters.") for problem in document.sort_problems()]


def _lacks(image: Path) -> Problem:
    return Problem(code="characters.image", what="there is no such image", where=str(image), hint="check the path")


def _find_repeated(characters: Sequence[ReadCharacter]) -> list[Problem]:
    names = [character.shape.name for character in characters]
    repeated = sorted({name for name in names if names.count(name) > 1})
    hint = "give each a name of its own"
    return [
        Problem(code="characters.repeated", what=f"several characters are named {name!r}", hint=hint)
        for name in repeated
    ]
