"""Where instances are: by the URL of the cluster file, or by the server that Corral runs for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from corral.cluster.values import Instance
from corral.engines.servers.engine import InstanceServer
from corral.work import EngineUnavailableError, NotRunningError


class Directory:
    """The servers that Corral runs for instances, running or not, by engine and instance."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, str], InstanceServer] = {}

    def enter(self, engine: str, instance: str, server: InstanceServer) -> None:
        """Note the server of an instance, in place of an earlier one."""
        self._servers[engine, instance] = server

    def find(self, engine: str, instance: str) -> InstanceServer | None:
        """Return the server of an instance; None where Corral runs none for it."""
        server = self._servers.get((engine, instance))
        return None if server is None or server.is_closed else server

    def find_url(self, engine: str, instance: Instance) -> str | None:
        """Return where an instance answers now; None where its server does not run."""
        if instance.url is not None:
            return instance.url
        server = self.find(engine, instance.name)
        return None if server is None else server.url

    def require_url(self, engine: str, instance: Instance) -> str:
        """Return where an instance answers now. Raises: NotRunningError."""
        url = self.find_url(engine, instance)
        if url is None:
            raise NotRunningError(f"{instance.name} does not run now", hint="a task that needs it starts it")
        return url

    @asynccontextmanager
    async def reach(self, engine: str, instance: Instance) -> AsyncGenerator[str]:
        """Lend the URL of an instance; its server is started where Corral runs it, and does not stop meanwhile.

        Raises: EngineUnavailableError.
        """
        server = self.find(engine, instance.name)
        if server is None:
            yield self.require_url(engine, instance)
            return
        async with server.use():
            url = server.url
            if url is None:
                raise EngineUnavailableError(f"{instance.name} ended just now", hint="try again")
            yield url
