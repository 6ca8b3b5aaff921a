"""How a local engine and its worker process talk: one JSON object per line, of bounded length, over two pipes.

The parent writes `start`, `run` and `cancel` to the worker's standard input; the worker writes `ready`, `progress`,
`preview`, `resident`, `result`, `cancelled` and `error` to what was its standard output. ASCII alone is sent, so that
no text, however broken, can be undecodable or hold a line break.

Belongs here: framing, shared by both sides.
Does not belong here: what the messages mean to either side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

Message = dict[str, Any]  # Any: a JSON object; each reader checks the fields that it uses

MAX_LINE_BYTES = 32 * 2**20
"""Longest message. A task's inputs hold at most a few MiB of text, which ASCII escapes make up to six times longer."""


class WireError(Exception):
    """A message that cannot be sent or read; the two sides no longer understand each other."""


def encode(message: Mapping[str, Any]) -> bytes:  # Any: as in Message
    """Return the message as one line. Raises: WireError when it is not JSON or too long."""
    try:
        line = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError) as error:
        raise WireError(f"a message is not JSON: {error}") from error
    if len(line) > MAX_LINE_BYTES:
        raise WireError(f"a message has {len(line)} bytes, more than {MAX_LINE_BYTES}")
    return line


def decode(line: bytes) -> Message:
    """Read one line. Raises: WireError when it is not a whole JSON object."""
    if not line.endswith(b"\n"):
        raise WireError("a message has no end")
    try:
        message: object = json.loads(line)
    except ValueError as error:
        raise WireError(f"a message is not JSON: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise WireError(f"a message is not an object: {line[:80]!r}")
    return cast(Message, message)
