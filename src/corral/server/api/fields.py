"""Types that the other parts of a request are checked with, so that PostgreSQL never sees what it cannot hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from corral.requests import Id, LongWord, Word

__all__ = ["Digest", "EventId", "Id", "LongWord", "Word"]

EventId = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Names a line of the story; 0 stands before the first."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256, 64 lower-case hexadecimal digits."""
