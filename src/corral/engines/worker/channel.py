"""The worker's end of the two pipes, kept away from everything else that prints or reads.

Belongs here: descriptors, sending and receiving messages.
Does not belong here: what messages mean.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO

from corral.engines.wire import MAX_LINE_BYTES, Message, decode, encode


class Channel:
    """Messages to and from the server; sending is safe from any thread."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._lock = threading.Lock()

    @classmethod
    def take_standard_streams(cls) -> Channel:
        """Move the pipes away from descriptors 0 and 1: libraries print to the log, and read nothing.

        Must be called before any engine's library is imported; children do not inherit the moved descriptors.
        """
        source, sink = os.dup(0), os.dup(1)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(os.fdopen(source, "rb"), os.fdopen(sink, "wb", buffering=0))

    def send(self, message: Mapping[str, Any]) -> None:  # Any: a JSON object
        """Send one message. Raises: WireError when it cannot be encoded; ends the process when nobody listens."""
        line = memoryview(encode(message))
        with self._lock:
            try:
                while line:
                    line = line[self._sink.write(line) or 0 :]
            except BrokenPipeError:
                os._exit(0)

    def receive(self) -> Message | None:
        """Wait for the next message; None when the server has gone. Raises: WireError."""
        line = self._source.readline(MAX_LINE_BYTES + 1)
        return decode(line) if line else None
