"""The messages of a conversation, as far as they are sent to the model; pure.

Instructions at its beginning stay; of the rest, the oldest goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import takewhile

from pydantic_core import to_json

from corral.work import Json

MOST_MESSAGES = 200
"""Messages that are kept, next to the instructions."""
MOST_BYTES = 16 * 2**20
"""Of those, as JSON: as much as one message of a websocket, pictures included."""
_INSTRUCTIONS = frozenset({"system", "developer"})


class History:
    """The messages of one conversation."""

    def __init__(self, messages: Sequence[Mapping[str, Json]] = ()) -> None:
        self._first = list(takewhile(lambda message: message.get("role") in _INSTRUCTIONS, messages))
        self._rest: deque[tuple[Mapping[str, Json], int]] = deque()
        self._size = 0
        for message in messages[len(self._first) :]:
            self._append(message)

    def add(self, role: str, content: str) -> None:
        """Add what was said."""
        self._append({"role": role, "content": content})

    def list_messages(self) -> list[Mapping[str, Json]]:
        """List what the model is sent."""
        return [*self._first, *(message for message, _ in self._rest)]

    def _append(self, message: Mapping[str, Json]) -> None:
        size = len(to_json(message))
        self._rest.append((message, size))
        self._size += size
        while len(self._rest) > 1 and (len(self._rest) > MOST_MESSAGES or self._size > MOST_BYTES):
            self._size -= self._rest.popleft()[1]
