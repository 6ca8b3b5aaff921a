"""The models of instances, as administrators change them; `corral.server` does it over what `corral models` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from corral.gateway.doors import Visitor
from corral.gateway.ollama.listing import InMemory
from corral.work import Endpoint, PullStep, SlotId


@dataclass(frozen=True, slots=True)
class Host:
    """An instance whose models can be changed."""

    name: str
    slot: SlotId


class ModelKeeper(Protocol):
    """Changes and describes the models of instances."""

    def list_in_memory(self) -> Sequence[InMemory]:
        """List the models in memory, as they are known; no server is asked."""
        ...

    def list_hosts(self, on: Sequence[str]) -> Sequence[Host]:
        """List the instances whose models can be changed: those that are named, else all. Raises: CorralError."""
        ...

    async def pull(self, visitor: Visitor, model: str, on: Host, report: Callable[[PullStep], None]) -> None:
        """Let an instance fetch a model. Raises: CorralError."""
        ...

    async def delete(self, visitor: Visitor, model: str, on: Host) -> None:
        """Delete a model from an instance. Raises: CorralError."""
        ...

    def reach(self, on: Host, *, starts: bool) -> AbstractAsyncContextManager[Endpoint | None]:
        """Lend the server of an instance for what loads nothing; None where it does not run and `starts` is false.

        Raises: CorralError.
        """
        ...

    async def note_made(self, visitor: Visitor, model: str, on: Host) -> None:
        """Note in the audit log that a visitor made a model on an instance from others."""
        ...
