"""Words for a request that an instance did not answer."""

from __future__ import annotations

import os

import aiohttp

_OF_ASYNCIO = "Connect call failed"
"""How asyncio words every connection that the system refuses, with the address again, in place of the reason."""


def describe_failure(error: Exception) -> str:
    """Describe why a request got no answer, without the address twice and aiohttp's ssl setting."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        words = cause.strerror or str(cause)
        if cause.errno is not None and words.startswith(_OF_ASYNCIO):
            words = os.strerror(cause.errno)
        return f"cannot connect to {error.host}:{error.port}: {words}"
    return str(error) or type(error).__name__
