"""A request that comes from a Corral is passed on to no third one, so that two cannot send it to and fro."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from corral.work import PASSED_ON, Endpoint, SlotLacksError

_HEADER = PASSED_ON.lower()


class ThirdCorralError(SlotLacksError):
    """A request that another Corral passed on would go to a third."""

    code: ClassVar[str] = "gateway.third_corral"


def is_passed_on(headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers (names in lower case) comes from a Corral."""
    return _HEADER in headers


def check_third(headers: Mapping[str, str], endpoint: Endpoint) -> None:
    """Return when a request with these headers (names in lower case) can be sent to the endpoint.

    Raises: ThirdCorralError: another slot can have it.
    """
    if is_passed_on(headers) and endpoint.is_corral:
        what = "the request comes from a Corral, and the server of the slot is another one"
        hint = "give the first Corral that server as an instance of its own"
        raise ThirdCorralError(what, where=endpoint.url, hint=hint)
