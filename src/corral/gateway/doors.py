"""Finds the door of a request by its path, before Corral's own API sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from corral.errors import CorralError, Kind
from corral.gateway.asgi import Scope
from corral.requests import KeyFields


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Whom a request of a door speaks for."""

    owner: str
    can_submit: bool
    """Whether it can have work done; without that it can look."""
    is_admin: bool = False
    key: str | None = None
    """The name of its token; None for the local administrator and for listeners that ask for none."""
    limits: KeyFields | None = None
    """Those of its token."""

    def can_use(self, model: str) -> bool:
        """Whether its token is for this model."""
        return self.limits is None or self.limits.allows(model)


class NotAllowedError(CorralError):
    """The visitor's key does not allow this."""

    code: ClassVar[str] = "auth.role"
    kind: ClassVar[Kind] = Kind.DENIED


def require_submitter(visitor: Visitor) -> None:
    """Return when a visitor can have work done. Raises: NotAllowedError."""
    if not visitor.can_submit:
        raise NotAllowedError(f"{visitor.owner!r} can look, and have no work done", hint="use a key that submits")


def require_model(visitor: Visitor, asked: str, name: str) -> None:
    """Return when a visitor's key is for a model, by the name that was asked for or the one that lists show.

    Raises: NotAllowedError.
    """
    if not visitor.can_use(asked) and not visitor.can_use(name):
        raise NotAllowedError(f"this key is not for the model {asked!r}", where="model", hint="use another key")


class Doorman(Protocol):
    """Knows visitors by the headers of their requests, and by the listener that they came through."""

    async def admit(self, scope: Scope) -> Visitor:
        """Return whom a request speaks for.

        Raises: CorralError of the kind DENIED, and of the kind NO_CAPACITY for an address with many unknown tokens.
        """
        ...


class Door(Protocol):
    """An ASGI application for the paths of one protocol; it admits its visitors and writes errors in its own shape."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Its paths: whole ones, and all below those that end with `/`."""
        ...

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request or websocket."""
        ...

    async def close(self) -> None:
        """Close what it has open, once no request is served any more."""
        ...


@runtime_checkable
class WorksBehind(Protocol):
    """A door with work that goes on while no request asks for it."""

    async def run(self) -> None:
        """Do it until cancelled."""
        ...


class Doors:
    """ASGI middleware: requests go to their door, all others on to the application behind it."""

    def __init__(self, app: Any, doors: Iterable[Door]) -> None:  # an ASGI application, of any framework
        """Of doors with the same path, the first has it; a longer path goes before a shorter one."""
        self._app = app
        self._whole: dict[str, Door] = {}
        self._below: dict[str, Door] = {}
        for door in doors:
            for path in door.paths:
                (self._below if path.endswith("/") and path != "/" else self._whole).setdefault(path, door)
        self._longest_first = sorted(self._below, key=len, reverse=True)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        door = self.find(scope["path"]) if scope["type"] in ("http", "websocket") else None
        await (self._app if door is None else door)(scope, receive, send)

    def find(self, path: str) -> Door | None:
        """Return the door that answers a path; None where none does."""
        door = self._whole.get(path)
        if door is not None:
            return door
        for prefix in self._longest_first:  # no generator: every request comes through here
            if path.startswith(prefix):
                return self._below[prefix]
        return None
