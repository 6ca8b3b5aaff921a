"""Knows the visitors of doors by the tokens that Corral's own API takes."""

from __future__ import annotations

from corral.gateway.asgi import Scope
from corral.gateway.doors import Visitor
from corral.server.auth import Role, authenticate
from corral.server.services import Services


class TokenDoorman:
    """Takes `Authorization: Bearer` and `x-api-key`, and trusts loopback as the API does."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def admit(self, scope: Scope) -> Visitor:
        """Return whom a request speaks for. Raises: FailedKeysError, NotAuthenticatedError."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        services, client = self._services, scope.get("client")
        caller = await authenticate(
            headers,
            keys=services.keys,
            local_token=services.local_token,
            loopback=services.trusts_loopback,
            origin=client[0] if client else None,
        )
        return Visitor(
            owner=caller.owner,
            can_submit=caller.role.includes(Role.SUBMITTER),
            is_admin=caller.role.includes(Role.ADMIN),
            key=caller.key,
            limits=caller.limits,
        )
