"""Signs webhooks after the Standard Webhooks specification 1.0.0 (standardwebhooks.com).

The signed content is `id.timestamp.body`; a secret is `whsec_` and 24 to 64 bytes in base64; a signature is `v1,` and
its HMAC-SHA256 in base64. While a secret is replaced the variable holds both, with a space between them, and a request
has a signature for each.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import ClassVar

from corral.errors import CorralError, Kind

PREFIX = "whsec_"
_LENGTHS = range(24, 65)
"""Bytes of a secret."""


class SecretError(CorralError):
    """The signing secret of a webhook cannot be used; its value is never in a message."""

    code: ClassVar[str] = "webhook.secret"
    kind: ClassVar[Kind] = Kind.INVALID


def read_secrets(variable: str, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the secrets that an environment variable holds. Raises: SecretError."""
    hint = f'start the server with {variable}="whsec_$(openssl rand -base64 32)", and give it to the receiver, too'
    if not environ.get(variable, "").strip():
        raise SecretError(f"the environment variable {variable} is not set", hint=hint)
    secrets = tuple(map(_decode, environ[variable].split()))
    usable = tuple(secret for secret in secrets if secret is not None)
    if len(usable) < len(secrets):
        raise SecretError(f"{variable} does not hold `whsec_` with 24 to 64 bytes in base64", hint=hint)
    return usable


def make_headers(message: str, timestamp: int, body: bytes, secrets: tuple[bytes, ...]) -> dict[str, str]:
    """Return the headers of one try; `timestamp` is in seconds since 1970."""
    content = b".".join((message.encode(), str(timestamp).encode(), body))
    signatures = (base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _decode(text: str) -> bytes | None:
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return secret if text.startswith(PREFIX) and len(secret) in _LENGTHS else None
