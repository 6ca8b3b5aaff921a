"""What requests use, for accounts, limits and metrics; `corral.server` keeps them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from corral.gateway.doors import Visitor
from corral.work import SlotId


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of one request, as the server that computed them counts; None where it does not say."""

    prompt: int | None = None
    completion: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A request that was served, here or elsewhere."""

    visitor: Visitor
    model: str
    """The name that lists show, whatever the request calls it."""
    door: str
    """Where it came in: `openai`, `ollama`, `anthropic`, `speech`."""
    engine: str | None = None
    """None of a request that a provider elsewhere served."""
    seconds: float = 0.0
    """For which its lane was taken; none of a request that was served elsewhere."""
    slot: SlotId | None = None
    """None of a request that a provider elsewhere served."""
    cloud: str | None = None
    """The provider's name in the cluster file."""
    tokens: Tokens = Tokens()
    is_whole: bool = True
    """Whether the answer was sent to its end."""


class UsageSink(Protocol):
    """Keeps what requests use, and knows what keys can use; none of it waits."""

    @property
    def counts_tokens(self) -> bool:
        """Whether the tokens of requests are wanted; streams are read for them only then."""
        ...

    def check(self, visitor: Visitor) -> None:
        """Return when a request could begin now, for what is large and comes before its model is known.

        Raises: CorralError of the kind NO_CAPACITY.
        """
        ...

    def begin(self, visitor: Visitor, model: str) -> None:
        """Let a request begin; `end` follows. Raises: CorralError of the kinds DENIED and NO_CAPACITY."""
        ...

    def end(self, visitor: Visitor, model: str) -> None:
        """Note that a request that began has ended, however it did."""
        ...

    def record(self, served: Served) -> None:
        """Note what a request has used."""
        ...

    def record_energy(self, served: Served, joules: float) -> None:
        """Note the energy of a request that was recorded before, of GPUs, as measured."""
        ...


class NoAccounts:
    """Lets everybody do everything, and keeps nothing."""

    counts_tokens = False

    def check(self, visitor: Visitor) -> None:
        """Return."""

    def begin(self, visitor: Visitor, model: str) -> None:
        """Let it begin."""

    def end(self, visitor: Visitor, model: str) -> None:
        """Forget it."""

    def record(self, served: Served) -> None:
        """Forget it."""

    def record_energy(self, served: Served, joules: float) -> None:
        """Forget it."""


@contextmanager
def count(sink: UsageSink, visitor: Visitor, asked: str, name: str) -> Generator[None]:
    """Count a request while it lasts; keys can be for the name that it asked for, or for the one that lists show.

    Raises: CorralError of the kinds DENIED and NO_CAPACITY.
    """
    model = asked if asked and visitor.can_use(asked) else name
    sink.begin(visitor, model)
    try:
        yield
    finally:
        sink.end(visitor, model)
