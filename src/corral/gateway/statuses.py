"""HTTP statuses of errors, alike at every door."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from corral.errors import CorralError, Kind
from corral.gateway.passing import UpstreamRefusedError
from corral.slots.guests import GuestLateError

RETRY_AFTER_S = 5
"""When it is worth to ask again where nothing better is known."""
_STATUSES: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.INVALID: 400,
        Kind.MISSING: 404,
        Kind.CONFLICT: 409,
        Kind.NO_CAPACITY: 429,
        Kind.UNAVAILABLE: 503,
        Kind.DENIED: 403,
        Kind.BUG: 500,
    }
)
_OF_CODES = {"auth.not_authenticated": 401, "request.too_large": 413, GuestLateError.code: 503}


def find_status(error: CorralError) -> int:
    """Return the status of an error; of a server's refusal, its own."""
    if isinstance(error, UpstreamRefusedError):
        return error.status
    return _OF_CODES.get(error.code, _STATUSES[error.kind])


def list_headers(error: CorralError) -> dict[str, str]:
    """Return the headers that go with an error."""
    match find_status(error):
        case 401:
            return {"WWW-Authenticate": "Bearer"}
        case 429 | 503:
            wait_s = error.retry_after_s or RETRY_AFTER_S
            return {"Retry-After": str(max(1, math.ceil(wait_s)))}
        case _:
            return {}
