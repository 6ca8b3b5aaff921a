"""What an image stands for: a program of this machine. An image that the test does not name is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A container image: what it runs, and how a container of it begins."""

    pattern: str
    """Of its reference, as in a shell: `ollama/ollama:*`; `docker.io/library/` can be left out."""
    argv: Sequence[str]
    """Its entry point; `command` of a container replaces it."""
    arguments: Sequence[str] = ()
    """Its `CMD`; `args` of a container replace it."""
    ignores_command: bool = False
    """Runs `argv` whatever `command` and `args` say: a double takes none of the words of its program."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    folder: str = "/"
    """Its working directory."""
    user: int = 0
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Executable text files that it has, by path: `{"/usr/local/bin/ollama": "#!/bin/sh ..."}`."""
    seconds_to_pull: float = 0


def normalize(reference: str) -> str:
    """Write a reference without what container runtimes add, and with a tag."""
    for prefix in ("docker.io/library/", "docker.io/"):
        reference = reference.removeprefix(prefix)
    name = reference.rpartition("/")[2]
    return reference if ":" in name or "@" in name or "*" in name else f"{reference}:latest"


def find_image(images: Sequence[Image], reference: str) -> Image | None:
    """Find what a reference stands for; the last that fits, so that a test can say it anew."""
    wanted = normalize(reference)
    for image in reversed(images):
        if fnmatchcase(wanted, normalize(image.pattern)):
            return image
    return None
