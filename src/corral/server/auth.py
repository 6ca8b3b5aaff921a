"""Who asks: a token's role, or the local administrator on loopback.

A token comes as `Authorization: Bearer`, or as `x-api-key`, which clients of Anthropic's API send.

A browser on this machine can be made to send requests to a loopback port by any page it shows. So a request without a
token is trusted only when its Host is a loopback name (a page that rebinds its own name to 127.0.0.1 keeps that name)
and its Origin, where the browser names one, is this very server.

The console's page sends its token in a cookie (`sessions`), which counts where loopback is not trusted: for Corral's
own API, and for the doors through which the page chats and speaks.
"""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, NamedTuple
from urllib.parse import urlsplit

from corral.errors import CorralError, Kind
from corral.requests import KeyFields
from corral.server.keys.keeping import Keys
from corral.server.proxies import PROXY_HEADERS
from corral.server.sessions import ForgedRequestError, explain_forgery
from corral.tasks.store.tokens import Token

LOCAL_OWNER = "local"
"""The owner of what is submitted without a token; no token can have this name."""


class Role(StrEnum):
    """The rights of a caller; each role has those of the roles before it."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role has the rights of `other`."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whom a request speaks for."""

    owner: str
    role: Role
    origin: str | None = None
    """The address that it came from; None when it is unknown."""
    key: str | None = None
    """The name of its token; None for the local administrator."""
    limits: KeyFields | None = None
    """Those of its token."""


@dataclass(frozen=True, slots=True)
class Session:
    """The token in the cookie of a request, and the method of the request."""

    secret: str = field(repr=False)
    method: str


class NotAuthenticatedError(CorralError):
    """No usable token came with the request."""

    code: ClassVar[str] = "auth.not_authenticated"
    kind: ClassVar[Kind] = Kind.DENIED


class RoleError(CorralError):
    """The caller's role does not allow this."""

    code: ClassVar[str] = "auth.role"
    kind: ClassVar[Kind] = Kind.DENIED


async def authenticate(
    headers: Mapping[str, str],
    *,
    keys: Keys,
    local_token: str,
    loopback: bool,
    origin: str | None = None,
    session: Session | None = None,
) -> Caller:
    """Return whom the request speaks for. `headers` has lower-case names, `origin` is the client's address.

    Raises: FailedKeysError, ForgedRequestError, NotAuthenticatedError.
    """
    secret = _read_secret(headers)
    if secret is not None:
        return await _find_caller(secret, keys, local_token, origin)
    refusal = "this server trusts no address without one" if not loopback else explain_distrust(headers)
    if refusal is not None and session is not None:
        forged = explain_forgery(session.method, headers)
        if forged is not None:
            raise ForgedRequestError(f"the cookie of the console does not count: {forged}", hint="use a token")
        return await _find_caller(session.secret, keys, local_token, origin)
    if refusal is not None:
        raise NotAuthenticatedError(
            f"a token is needed: {refusal}",
            hint="send `Authorization: Bearer <token>`; an administrator makes one with `corral tokens create`",
        )
    return Caller(owner=LOCAL_OWNER, role=Role.ADMIN, origin=origin)


def require(caller: Caller, role: Role) -> None:
    """Return when the caller has the role. Raises: RoleError."""
    if not caller.role.includes(role):
        raise RoleError(
            f"{caller.owner!r} has the role {caller.role}, and this needs {role}",
            hint=f"use a token with the role {role}",
        )


def require_own(caller: Caller, owner: str) -> None:
    """Return when the caller can change what `owner` submitted. Raises: RoleError."""
    if caller.role is not Role.ADMIN and caller.owner != owner:
        raise RoleError(f"this belongs to {owner!r}, not to {caller.owner!r}", hint="ask its owner or an administrator")


def _read_secret(headers: Mapping[str, str]) -> str | None:
    """Return the secret of a request; None when it has none. Raises: NotAuthenticatedError."""
    given = headers.get("authorization")
    if given is None:
        return headers.get("x-api-key")
    scheme, _, secret = given.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise NotAuthenticatedError(
            f"the Authorization header has the scheme {scheme[:20]!r}, not Bearer", hint="send `Bearer <token>`"
        )
    return secret


async def _find_caller(secret: str, keys: Keys, local_token: str, origin: str | None) -> Caller:
    if hmac.compare_digest(secret.encode(errors="replace"), local_token.encode()):
        return Caller(owner=LOCAL_OWNER, role=Role.ADMIN, origin=origin)
    token = keys.ring.find_known(secret)
    if token is None:
        keys.failures.refuse_many(origin, time.monotonic())
        token = await keys.ring.find(secret)
    if token is None:
        keys.failures.note(origin, time.monotonic())
        raise NotAuthenticatedError(
            "the token is unknown, revoked or expired", hint="an administrator makes one with `corral tokens create`"
        )
    return speak_for(token, origin)


def speak_for(token: Token, origin: str | None) -> Caller:
    """Return the caller that a token stands for; `origin` is the client's address."""
    return Caller(owner=token.owner, role=Role(token.role), origin=origin, key=token.name, limits=token.fields)


def explain_distrust(headers: Mapping[str, str]) -> str | None:
    """Say why a request without a token is not trusted on loopback; None when it is."""
    host = _read_site(f"//{headers.get('host', '')}")
    if host is None or not host.is_loopback:
        return f"the Host header {headers.get('host', '')[:80]!r} is not a loopback name"
    if headers.get("sec-fetch-site") == "cross-site":
        return "a browser sent it for a page of another site"
    if any(name in headers for name in PROXY_HEADERS):
        return "a reverse proxy passed it on, and who asked is elsewhere"
    given = headers.get("origin")
    if given is None:
        return None
    origin = _read_site(given)
    if origin is None or not origin.is_loopback or origin.port != host.port:
        return f"the Origin header {given[:80]!r} is not this server"
    return None


class _Site(NamedTuple):
    """Where a header points."""

    is_loopback: bool
    port: int


@lru_cache(maxsize=256)
def _read_site(url: str) -> _Site | None:
    """Return where an address points, None where it cannot be read; clients send the same ones again and again."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    return _Site(_is_loopback(parts.hostname), port)


def _is_loopback(host: str | None) -> bool:
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
