"""A result of a task that becomes a model of the store, by a name that other tasks use.

The name is checked before the work begins. A task that was killed after it registered its model does so once more, and
replaces its own; a model of another origin is never replaced.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from corral.errors import CorralError
from corral.work import TaskInvalidError


class ModelShelf(Protocol):
    """Where models are kept by name."""

    def refuse_taken(self, name: str, source: str) -> None:
        """Raises: CorralError when the name is that of a model from elsewhere. Blocks."""

    async def register(self, name: str, file: Path, source: str) -> object:
        """Keep a copy of a file as a model. Raises: CorralError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """How a result becomes a model."""

    shelf: ModelShelf
    name: str
    source: str

    async def carry_out(self, file: Path) -> None:
        """Register a file. Raises: CorralError."""
        await self.shelf.register(self.name, file, self.source)


async def prepare_registration(shelf: ModelShelf, name: str, source: str) -> Registration:
    """Return the registration of a task's result, before it is there. Raises: TaskInvalidError."""
    try:
        await asyncio.to_thread(shelf.refuse_taken, name, source)
    except CorralError as error:
        raise TaskInvalidError(error.what, where=error.where, hint=error.hint) from error
    return Registration(shelf=shelf, name=name, source=source)
