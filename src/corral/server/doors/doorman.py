"""Knows the visitors of doors: by the tokens that Corral's own API takes, and by their listener."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from starlette.requests import cookie_parser

from corral.cluster.gateway_values import Listener
from corral.errors import CorralError, Kind
from corral.gateway.asgi import Scope, read_headers
from corral.gateway.doors import Visitor
from corral.server.auth import Caller, Role, Session, authenticate
from corral.server.doors.foreign_pages import explain_foreign_page
from corral.server.services import Services
from corral.server.sessions import HEADER, name_cookie

Takes = Literal["tokens", "cookies"]
"""The proof that a door accepts: tokens alone, or cookies of the console's page as well."""


class ForeignPageError(CorralError):
    """A browser sent a request to a listener without keys, for a page that is not the listener's."""

    code: ClassVar[str] = "listener.foreign_page"
    kind: ClassVar[Kind] = Kind.DENIED


class TokenDoorman:
    """Takes `Authorization: Bearer` and `x-api-key`, and trusts loopback as the API does.

    A door that the console's page uses takes the page's cookie, too, with the header that no other page can add.

    What comes through a listener with an owner speaks for this owner, whatever key it has, and never administers. One
    that networks reach trusts no address.
    """

    def __init__(self, services: Services, takes: Takes = "tokens") -> None:
        self._services = services
        self._takes = takes

    async def admit(self, scope: Scope) -> Visitor:
        """Return whom a request speaks for. Raises: FailedKeysError, NotAuthenticatedError, ForeignPageError."""
        headers = read_headers(scope)
        entrance = self._services.listeners.find(scope)
        listener = None if entrance is None else entrance.place
        if not isinstance(listener, Listener):
            return await self._authenticate(headers, scope, loopback=self._services.trusts_loopback)
        if listener.owner is None:
            loopback = self._services.trusts_loopback and not listener.allow
            return await self._authenticate(headers, scope, loopback=loopback)
        reason = explain_foreign_page(headers, self._services.cluster.server.link)
        if reason is not None:
            raise ForeignPageError(reason, hint="open the page by this machine's address, or name it in `server.link`")
        return Visitor(owner=listener.owner, can_submit=True)

    async def _authenticate(self, headers: Mapping[str, str], scope: Scope, *, loopback: bool) -> Visitor:
        services, client = self._services, scope.get("client")
        caller = await authenticate(
            headers,
            keys=services.keys,
            local_token=services.local_token,
            loopback=loopback,
            origin=client[0] if client else None,
            session=self._find_session(headers, scope) if self._takes == "cookies" else None,
        )
        return Visitor(
            owner=caller.owner,
            can_submit=caller.role.includes(Role.SUBMITTER),
            is_admin=caller.role.includes(Role.ADMIN),
            key=caller.key,
            limits=caller.limits,
        )

    def _find_session(self, headers: Mapping[str, str], scope: Scope) -> Session | None:
        """Return the session of the console's page; a websocket cannot have the page's header, and has none."""
        if HEADER not in headers or scope["type"] != "http":
            return None
        secret = cookie_parser(headers.get("cookie", "")).get(name_cookie(self._services.cluster.name))
        return Session(secret, scope["method"]) if secret else None


def as_caller(visitor: Visitor) -> Caller:
    """Return the caller that a visitor is to Corral's own API."""
    role = Role.ADMIN if visitor.is_admin else Role.SUBMITTER if visitor.can_submit else Role.VIEWER
    return Caller(owner=visitor.owner, role=role, key=visitor.key, limits=visitor.limits)
