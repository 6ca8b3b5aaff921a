"""The backup of a running server, as one file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from corral.errors import CorralError, Kind
from corral.server.api.auditing import record
from corral.server.api.errors import declare_refusals
from corral.server.api.routing import make_router
from corral.server.api.state import Admin, Here
from corral.tasks.backup.archive import count_bytes, write_archive
from corral.tasks.backup.making import Prepared, Source, prepare_backup
from corral.tasks.store.audit import Action

router = make_router("server", prefix="/corral/v1/backup")

_MEDIA_TYPE = "application/x-tar"
_FILE: dict[str, Any] = {  # OpenAPI, as FastAPI takes it
    "description": "a tar file",
    "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
}


class BackupRunsError(CorralError):
    """Another backup of this server is being made."""

    code: ClassVar[str] = "backup.runs"
    kind: ClassVar[Kind] = Kind.CONFLICT


@router.get(
    "",
    summary="Save the queue",
    response_class=Response,
    responses={**declare_refusals(409, 507), 200: _FILE},
    name="backup",
)
async def save(api: Here, caller: Admin) -> Response:
    """Answer with the database, the files that it names and the cluster file, all as of one instant.

    Tasks go on. The answer begins when the database is dumped; its first file, `backup.json`, says what is in it.
    """
    services = api.services
    if api.backups.locked():
        raise BackupRunsError("a backup of this server is being made", hint="wait for its end")
    stack = AsyncExitStack()
    await stack.enter_async_context(api.backups)
    try:
        source = Source(
            name=services.cluster.name,
            url=services.database_url,
            artifacts=services.artifacts,
            cluster_file=services.cluster_file,
            folder=services.data_dir / "scratch",
        )
        prepared = await stack.enter_async_context(prepare_backup(source))
        await record(api, caller, Action.BACKUP_TAKEN, services.cluster.name, tasks=prepared.manifest.tasks)
        return _Archive(prepared, stack)
    except BaseException:
        await stack.aclose()
        raise


class _Archive(StreamingResponse):
    """The archive, whose files are kept until it is sent."""

    def __init__(self, prepared: Prepared, stack: AsyncExitStack) -> None:
        size = count_bytes(prepared.manifest, prepared.members)
        headers = {"Content-Length": str(size), "Content-Disposition": "attachment; filename=corral-backup.tar"}
        super().__init__(_read(prepared, stack), 200, headers, _MEDIA_TYPE)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._stack:
            await super().__call__(scope, receive, send)


async def _read(prepared: Prepared, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    """Yield the archive, and clean up before its end is sent: a client that has all of it can ask for the next one."""
    last = b""
    async for piece in iterate_in_threadpool(write_archive(prepared.manifest, prepared.members)):
        yield last
        last = piece
    await stack.aclose()
    yield last
