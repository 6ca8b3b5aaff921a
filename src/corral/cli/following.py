"""A single task, printed as it runs: its story line by line, and its log."""

from __future__ import annotations

import asyncio
import codecs
import sys
from typing import ClassVar
from urllib.parse import quote

from corral.cli import terminal
from corral.cli.listing import format_event
from corral.client.api import Api, Event
from corral.client.remote_errors import RemoteUnavailableError
from corral.errors import CorralError, Kind
from corral.printable import make_printable
from corral.work import Json

LOG = "log.txt"
_AGAIN_S = 1.0


class NoLogError(CorralError):
    """The task kept no log."""

    code: ClassVar[str] = "task.no_log"
    kind: ClassVar[Kind] = Kind.MISSING


async def follow_task(api: Api, task: int) -> Json:
    """Print a task's story from its beginning, as it grows; return the task once it has ended. Raises: RemoteError."""
    last = 0
    while True:
        try:
            async with api.open_events({"task": task, "after": last}) as events:
                seen = await api.get(f"/corral/v1/tasks/{task}")
                if seen["finished_at"] is not None:
                    return await _put_rest(api, task, last, seen)
                async for event in events:
                    last = _put_event(event, last)
                    if event.data.get("state") in ("succeeded", "failed", "cancelled"):
                        return await api.get(f"/corral/v1/tasks/{task}")
        except RemoteUnavailableError as error:
            terminal.note(f"{error.what}; connecting again")
        await asyncio.sleep(_AGAIN_S)


async def _put_rest(api: Api, task: int, last: int, seen: Json) -> Json:
    for event in (await api.get(f"/corral/v1/tasks/{task}/story", {"after": last}))["items"]:
        terminal.put(format_event(event))
    return seen


def _put_event(event: Event, last: int) -> int:
    if event.id is not None:
        terminal.put(format_event(event.data))
        return event.id
    if event.kind == "progress":
        fraction = event.data.get("fraction")
        share = "" if fraction is None else f"{fraction:.0%} "
        terminal.put(f"  {share}{event.data.get('note') or ''}".rstrip())
    return last


async def put_log(api: Api, task: int) -> None:
    """Print a task's log. Raises: NoLogError, RemoteError."""
    seen = await api.get(f"/corral/v1/tasks/{task}")
    if all(output["name"] != LOG for output in seen["outputs"]):
        what = f"task {task} ({seen['engine']}, {seen['state']}) has kept no log"
        raise NoLogError(what, hint=f"`corral tasks show {task}` prints what is known of it")
    content = api.read(f"/corral/v1/tasks/{task}/outputs/{quote(LOG)}")
    if not sys.stdout.isatty():  # a program gets what the task wrote, byte for byte
        async for chunk in content:
            sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
        return
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    async for chunk in content:
        sys.stdout.write(make_printable(decode(chunk)))
    sys.stdout.flush()
