"""The limits of each key: requests and tokens within any minute, tokens of the day, requests at a time.

Windows slide, and are exact: a key with 60 requests a minute never has 61 within 60 seconds. Tokens are known when an
answer ends, so the request that goes over a limit of tokens is served, and the next one waits. All of it is in memory;
the tokens of a day begin with what the database has of it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.requests import KeyFields
from corral.units import list_some

MINUTE_S = 60.0
_AT_ONCE_AGAIN_S = 1
"""When a client that has all its requests under way can ask again; their ends are not known."""


class KeyLimitError(CorralError):
    """A key has had what it can have for now."""

    code: ClassVar[str] = "key.limit"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY

    def __init__(self, what: str, *, retry_after_s: int) -> None:
        super().__init__(what, hint=f"try again in {retry_after_s} s, or ask an administrator for a key with more")
        self.retry_after_s = retry_after_s


class KeyModelError(CorralError):
    """A key cannot use this model."""

    code: ClassVar[str] = "key.model"
    kind: ClassVar[Kind] = Kind.DENIED


def require_model(key: str | None, limits: KeyFields, model: str | None) -> None:
    """Return when a key can use a model; one with chosen models does nothing without a model. Raises: KeyModelError."""
    if limits.models is None or (model is not None and limits.allows(model)):
        return
    what = "do work without a model" if model is None else f"use the model {model!r}"
    raise KeyModelError(f"the key {key!r} cannot {what}", hint=f"it can use {list_some(limits.models)}")


@dataclass(slots=True)
class _Window:
    """Amounts of the last minute."""

    entries: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    total: int = 0

    def add(self, amount: int, now: float) -> None:
        self.entries.append((now, amount))
        self.total += amount

    def find_wait(self, limit: int | None, now: float) -> float:
        """Return after how many seconds the total is below the limit."""
        while self.entries and self.entries[0][0] <= now - MINUTE_S:
            self.total -= self.entries.popleft()[1]
        if limit is None or self.total < limit:
            return 0.0
        left = self.total
        for at, amount in self.entries:
            left -= amount
            if left < limit:
                return at + MINUTE_S - now
        raise AssertionError("without its entries, a window is empty")


@dataclass(slots=True)
class _Meter:
    """Counts of one key."""

    requests: _Window = field(default_factory=_Window)
    tokens: _Window = field(default_factory=_Window)
    open: int = 0
    """Requests under way."""


class KeyMeters:
    """The meters of all keys, by their names."""

    def __init__(
        self, *, monotonic: Callable[[], float], today: Callable[[str], int], clock: Callable[[], datetime]
    ) -> None:
        """`today` returns the tokens of a key on this day (UTC)."""
        self._monotonic = monotonic
        self._today = today
        self._clock = clock
        self._meters: dict[str, _Meter] = {}

    @contextmanager
    def enter(self, key: str, limits: KeyFields) -> Generator[None]:
        """Count a request of a key while it lasts. Raises: KeyLimitError."""
        self.begin(key, limits)
        try:
            yield
        finally:
            self.end(key)

    def begin(self, key: str, limits: KeyFields) -> None:
        """Count a request of a key; `end` follows. Raises: KeyLimitError, which says which limit and until when."""
        self.check(key, limits)
        meter = self._meters[key]
        meter.requests.add(1, self._monotonic())
        meter.open += 1

    def check(self, key: str, limits: KeyFields) -> None:
        """Return when a request of a key could begin now. Raises: KeyLimitError."""
        self._refuse(key, self._meters.setdefault(key, _Meter()), limits, self._monotonic())

    def end(self, key: str) -> None:
        """Note that a request that began has ended."""
        self._meters[key].open -= 1

    def add_tokens(self, key: str, tokens: int) -> None:
        """Count tokens that a request of a key has read and written."""
        self._meters.setdefault(key, _Meter()).tokens.add(tokens, self._monotonic())

    def _refuse(self, key: str, meter: _Meter, limits: KeyFields, now: float) -> None:
        if limits.concurrent is not None and meter.open >= limits.concurrent:
            raise _make_error(key, f"{meter.open} of {limits.concurrent} requests under way", _AT_ONCE_AGAIN_S)
        if wait_s := meter.requests.find_wait(limits.requests_per_minute, now):
            raise _make_error(key, f"had {limits.requests_per_minute} requests within a minute", wait_s)
        if wait_s := meter.tokens.find_wait(limits.tokens_per_minute, now):
            raise _make_error(key, f"had {limits.tokens_per_minute} tokens within a minute", wait_s)
        self.refuse_day(key, limits)

    def refuse_day(self, key: str, limits: KeyFields) -> None:
        """Return when a key has tokens left for this day. Raises: KeyLimitError."""
        if limits.tokens_per_day is not None and self._today(key) >= limits.tokens_per_day:
            now = self._clock().astimezone(UTC)
            midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            raise _make_error(
                key, f"had its {limits.tokens_per_day} tokens of this day", (midnight - now).total_seconds()
            )


def _make_error(key: str, what: str, wait_s: float) -> KeyLimitError:
    verb = what if what.startswith("had") else f"has {what}"
    return KeyLimitError(f"the key {key!r} {verb}", retry_after_s=max(1, math.ceil(wait_s)))
