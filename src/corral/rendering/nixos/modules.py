"""A NixOS module as parts: each a comment and what it binds."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from corral.rendering.nixos.expressions import Value, key, written

_COMMENT_WIDTH = 112


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What belongs together in a module."""

    comment: str
    """Empty for none; it is wrapped."""
    values: Mapping[str, Value]
    """By path, with dots; no path stands in two parts."""


def module(parts: Iterable[Part]) -> str:
    """Write a module."""
    body = "\n".join(_part(part) for part in parts)
    return f"{{ config, lib, pkgs, ... }}:\n\n{{\n{body}}}\n"


def _part(part: Part) -> str:
    lines = textwrap.wrap(part.comment, width=_COMMENT_WIDTH, break_long_words=False, break_on_hyphens=False)
    comment = "".join(f"  # {line}\n" for line in lines)
    return comment + "".join(f"  {_path(path)} = {written(value, '  ')};\n" for path, value in part.values.items())


def _path(path: str) -> str:
    return ".".join(key(name) for name in path.split("."))
