"""Keeps what requests of doors use, and holds their keys to their limits."""

from __future__ import annotations

from collections.abc import Callable

from corral.gateway.doors import Visitor
from corral.gateway.usage import Served
from corral.server.keys.keeping import Keys
from corral.server.keys.limits import require_model
from corral.tasks.store.usage import Used


class Accounts:
    """The accounts of all visitors; visitors without a key have no limits."""

    counts_tokens = True

    def __init__(self, keys: Keys, *, count_cloud: Callable[[str], None] = lambda _: None) -> None:
        """`count_cloud` counts a request that the named provider elsewhere served."""
        self._keys = keys
        self._count_cloud = count_cloud

    def check(self, visitor: Visitor) -> None:
        """Return when a request could begin now. Raises: KeyLimitError."""
        if visitor.key is not None and visitor.limits is not None:
            self._keys.meters.check(visitor.key, visitor.limits)

    def begin(self, visitor: Visitor, model: str) -> None:
        """Let a request begin. Raises: KeyLimitError, KeyModelError."""
        if visitor.key is not None and visitor.limits is not None:
            require_model(visitor.key, visitor.limits, model)
            self._keys.meters.begin(visitor.key, visitor.limits)

    def end(self, visitor: Visitor, model: str) -> None:
        """Note that a request that began has ended."""
        del model
        if visitor.key is not None and visitor.limits is not None:
            self._keys.meters.end(visitor.key)

    def record(self, served: Served) -> None:
        """Note what a request has used; tokens that are unknown count as none."""
        used = Used(
            requests=1,
            prompt_tokens=served.tokens.prompt or 0,
            completion_tokens=served.tokens.completion or 0,
            seconds=served.seconds,
        )
        visitor = served.visitor
        if served.cloud is not None:
            self._count_cloud(served.cloud)
        self._add(served, used)
        if visitor.key is not None and used.tokens:
            self._keys.meters.add_tokens(visitor.key, used.tokens)

    def record_energy(self, served: Served, joules: float) -> None:
        """Note the energy of a request that was recorded before."""
        self._add(served, Used(joules=joules, metered=1))

    def _add(self, served: Served, used: Used) -> None:
        self._keys.usage.add(
            key=served.visitor.key,
            owner=served.visitor.owner,
            model=served.model,
            used=used,
            cloud=served.cloud,
            engine=served.engine,
            door=served.door,
        )
