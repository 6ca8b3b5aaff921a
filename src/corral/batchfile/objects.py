"""Files that stand for a text or an object: a workflow, alone or with the places that a second file names for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from corral.cluster.parsing import read
from corral.errors import CorralError, Kind, did_you_mean
from corral.units import format_bytes
from corral.work import Json

LARGEST_SOURCE = 4 * 2**20
"""Bytes of one such file; inputs of a task have at most 1 MiB, and 10,000 prompts of 400 characters are 4 MB."""
_EXPORT = "save the workflow in ComfyUI with Workflow > Export (API)"
_YAML = (".yaml", ".yml")
_BASE, _ADDED = "workflow", ("places",)
"""The entry of a file that names another one, and what it adds to that."""


class SourceError(CorralError):
    """A file whose content is taken in cannot be used."""

    code: ClassVar[str] = "batchfile.no_file"
    kind: ClassVar[Kind] = Kind.INVALID


def find_path(name: str, folder: Path) -> Path:
    """Return the path that a file names; a relative one starts at the folder. Raises: SourceError."""
    try:
        path = Path(name).expanduser()
    except (RuntimeError, ValueError) as error:  # no such user, or one without a home; a NUL in the name
        what = "the home that it begins with cannot be found"
        raise SourceError(what, where=name, hint="write the whole path") from error
    return path if path.is_absolute() else folder / path


def read_object(path: Path) -> dict[str, Json]:
    """Read a file that holds an object, such as a workflow, in JSON or YAML.

    A file with `workflow: ./portrait.json` is that file, with the file's own `places` added. Raises: SourceError.
    """
    content = _read_mapping(path)
    base = content.get(_BASE)
    if not isinstance(base, str):
        return content
    unknown = [name for name in content if name not in (_BASE, *_ADDED)]
    if unknown:
        what = f"the file has an unknown entry `{unknown[0][:60]}` next to `{_BASE}`"
        raise SourceError(what, where=str(path), hint=did_you_mean(unknown[0], (_BASE, *_ADDED)))
    return {
        **_read_mapping(find_path(base, path.parent)),
        **{name: content[name] for name in _ADDED if name in content},
    }


def _read_mapping(path: Path) -> dict[str, Json]:
    text = read_text(path)
    content = _parse_yaml(text, path) if path.suffix in _YAML else _parse_json(text, path)
    if not isinstance(content, dict):
        kind = "YAML" if path.suffix in _YAML else "JSON"
        raise SourceError(f"the file is {kind} without an object", where=str(path), hint=_EXPORT)
    return content  # pyright: ignore[reportUnknownVariableType]  JSON, as typed


def _parse_json(text: str, path: Path) -> Json:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        raise SourceError(f"the file is not JSON: {error.msg.lower()}", where=place, hint=_EXPORT) from error
    except RecursionError as error:
        raise SourceError("the file is nested too deep", where=str(path), hint=_EXPORT) from error


def _parse_yaml(text: str, path: Path) -> Json:
    document = read(text, filename=str(path))
    problem = next(iter(document.sort_problems()), None)
    if problem is not None:
        raise SourceError(f"the file is not YAML: {problem.what}", where=problem.where, hint=problem.hint)
    return document.value


def read_text(path: Path) -> str:
    """Read a text file of bounded size. Raises: SourceError."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_SOURCE + 1)
        if len(content) > LARGEST_SOURCE:
            most = format_bytes(LARGEST_SOURCE)
            raise SourceError(
                f"the file has more than {most}", where=str(path), hint="split it, or hand it over under `files`"
            )
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"the file is not UTF-8 text: {error.reason}", where=str(path), hint="save it as UTF-8"
        ) from error
    except OSError as error:
        raise SourceError(
            f"the file cannot be read: {error.strerror}", where=str(path), hint="check the path"
        ) from error
    except ValueError as error:  # a NUL in the name
        raise SourceError(f"the file cannot be read: {error}", where=repr(path), hint="check the path") from error
