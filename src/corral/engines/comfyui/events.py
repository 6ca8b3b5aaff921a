"""The messages of an instance over its WebSocket, and how far a prompt is according to them; pure.

Text messages are `{type, data}`. Binary ones begin with a big-endian event number: 1 preview image, 3 text of a node,
4 preview image with metadata (only if negotiated). Unknown ones are ignored: newer versions can send more.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic_core import from_json

from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import Json

SUBSCRIBE = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
"""The client's first message: it asks for previews with the prompt and the node they belong to."""

_IMAGE_TYPES = {1: "image/jpeg", 2: "image/png"}
_WORD = struct.Struct(">I")
_ENDINGS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """An intermediate result; `prompt` is None where the instance does not name it."""

    media_type: str
    data: bytes
    prompt: str | None = None


def read_binary(frame: bytes) -> Preview | None:
    """Read a binary frame; None for an event that is unknown, and for a frame that is cut short."""
    event, rest = _read_word(frame)
    value, body = _read_word(rest)
    if value is None:
        return None
    match event:
        case 1:
            return Preview(media_type=_IMAGE_TYPES.get(value, "application/octet-stream"), data=body)
        case 3:
            return Preview(media_type="text/plain", data=body[value:]) if len(body) >= value else None
        case 4:
            return _read_preview(body[:value], body[value:])
        case _:
            return None


def _read_preview(raw: bytes, image: bytes) -> Preview | None:
    try:
        metadata = as_object(from_json(raw))
    except ValueError:
        return None
    media_type = as_text(metadata.get("image_type")) or "application/octet-stream"
    return Preview(media_type=media_type, data=image, prompt=as_text(metadata.get("prompt_id")) or None)


def _read_word(data: bytes) -> tuple[int | None, bytes]:
    if len(data) < _WORD.size:
        return None, b""
    return _WORD.unpack_from(data)[0], data[_WORD.size :]


@dataclass(slots=True)
class Course:
    """How far one prompt is: the share of its nodes that are done, the running ones counted by their own progress.

    Nodes count alike, because it is unknown beforehand how long each takes. The fraction never falls.

    `progress_state` repeats what each node does, and says that a node runs before `executing` names it. Versions before
    0.3.41 do not send it: there, one node runs at a time, and `executing` ends the one before.
    """

    prompt: str
    classes: Mapping[str, str]
    """The workflow's nodes: id to class."""
    done: set[str] = field(default_factory=set[str])
    running: dict[str, float] = field(default_factory=dict[str, float])
    fraction: float = 0.0
    note: str = "queued"
    ended: bool = False
    has_states: bool = False
    """Whether the instance reports the state of each node."""

    def read(self, raw: str) -> tuple[str, dict[str, Json]] | None:
        """Take a text message; return its event and data where it has news of this prompt."""
        try:
            message = as_object(from_json(raw))
        except ValueError:
            return None
        event, data = as_text(message.get("type")), as_object(message.get("data"))
        if data.get("prompt_id") != self.prompt:
            return None
        self._take(event, data)
        self._update_fraction()
        return event, data

    def _take(self, event: str, data: dict[str, Json]) -> None:
        match event:
            case "execution_start":
                self.note = "started"
            case "execution_cached":
                self.done.update(as_text(node) for node in as_list(data.get("nodes")))
            case "executing":
                self._start(as_text(data.get("node")))
            case "progress":
                self._advance(as_text(data.get("node")), data)
            case "progress_state":
                self.has_states = True
                for node, state in as_object(data.get("nodes")).items():
                    self._take_state(node, as_object(state))
            case "executed":
                self._finish(as_text(data.get("node")))
            case _:
                self.ended = self.ended or event in _ENDINGS

    def _take_state(self, node: str, state: dict[str, Json]) -> None:
        if state.get("state") == "finished":
            self._finish(node)
        elif state.get("state") == "running":
            self._advance(node, state)

    def _start(self, node: str) -> None:
        if not self.has_states:
            self.done.update(self.running.keys() - {node})
            self.running = {name: share for name, share in self.running.items() if name == node}
        if node and node not in self.done:
            self.running.setdefault(node, 0.0)
            self.note = self.classes.get(node, node)

    def _advance(self, node: str, data: dict[str, Json]) -> None:
        value, maximum = as_number(data.get("value")), as_number(data.get("max"))
        if value is None or not maximum or maximum <= 0 or node in self.done:
            return
        share = min(max(value / maximum, 0.0), 1.0)
        if value > 0 and share != self.running.get(node):  # a state is repeated with every other node's
            self.note = f"{self.classes.get(node, node)} {value:.0f}/{maximum:.0f}"
        self.running[node] = share

    def _finish(self, node: str) -> None:
        self.running.pop(node, None)
        self.done.add(node)

    def _update_fraction(self) -> None:
        # Nodes that a node expands into at run time are not in the workflow and do not count.
        done = len(self.done & self.classes.keys())
        running = sum(share for node, share in self.running.items() if node in self.classes)
        self.fraction = max(self.fraction, min((done + running) / max(len(self.classes), 1), 1.0))
