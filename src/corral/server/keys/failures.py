"""Tries with unknown tokens, and with unknown codes of links, by address: one that made many of them waits.

A token that is known is never refused for them, so one client cannot keep others out that come from the same address.
That costs no safety, since a secret has 256 random bits; what it saves are lookups in the database.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict, deque
from typing import ClassVar

from corral.errors import CorralError, Kind

MOST_FAILURES = 20
"""Tries of one address within `WINDOW_S`; a person who mistypes makes fewer."""
WINDOW_S = 60.0
MOST_ADDRESSES = 10_000
"""Addresses that are remembered, of the latest tries; about 3 MiB."""
_IPV6_NETWORK = 64
"""Bits that a provider gives to one customer; the others are the customer's to choose."""


class FailedKeysError(CorralError):
    """An address has tried too many unknown tokens or codes."""

    code: ClassVar[str] = "auth.too_many_failures"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY

    def __init__(self, what: str, *, retry_after_s: int, hint: str) -> None:
        super().__init__(what, hint=hint)
        self.retry_after_s = retry_after_s


class FailedKeys:
    """The latest failures of each address; instants are of any clock that never goes back, in seconds."""

    def __init__(
        self, *, most: int = MOST_FAILURES, window_s: float = WINDOW_S, addresses: int = MOST_ADDRESSES
    ) -> None:
        self._most = most
        self._window_s = window_s
        self._addresses = addresses
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def refuse_many(self, address: str | None, now: float) -> None:
        """Return when the address can try a token that is not known, or a code. Raises: FailedKeysError."""
        source = _find_network(address)
        tries = self._failures.get(source)
        if tries is None or len(tries) < self._most or now - tries[0] >= self._window_s:
            return
        wait_s = math.ceil(tries[0] + self._window_s - now)
        raise FailedKeysError(
            f"{self._most} unknown tokens or codes came from {source} within {self._window_s:g} s",
            retry_after_s=wait_s,
            hint=f"send a token of `corral tokens create`, or try again in {wait_s} s",
        )

    def note(self, address: str | None, now: float) -> None:
        """Note a try with an unknown token or code."""
        source = _find_network(address)
        tries = self._failures.setdefault(source, deque(maxlen=self._most))
        tries.append(now)
        self._failures.move_to_end(source)
        if len(self._failures) > self._addresses:
            self._failures.popitem(last=False)


def _find_network(address: str | None) -> str:
    """Return what stands for an address: itself, or the network of an IPv6 address."""
    if address is None:
        return "an unknown address"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
