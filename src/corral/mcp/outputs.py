"""The tool that gets what a task made: short text as it is, a picture as a small one, anything else as a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from corral.client.remote_errors import RemoteError
from corral.client.requests import ServerApi
from corral.errors import CorralError, Kind, did_you_mean
from corral.mcp.answers import Link, Picture, ToolAnswer, ToolContext, choose
from corral.mcp.arguments import OutputArguments
from corral.wire import write_out_values
from corral.work import Json

LARGEST_TEXT = 8 * 1024
"""Bytes of text that are in an answer: some 2,000 tokens."""
_SHOWN_AS_TEXT = ("text/", "application/json", "application/x-ndjson", "application/yaml")


class OutputNameError(CorralError):
    """The task has no output of that name."""

    code: ClassVar[str] = "mcp.no_output"
    kind: ClassVar[Kind] = Kind.MISSING


async def get_output(context: ToolContext, asked: OutputArguments) -> ToolAnswer:
    """Get an output of a task; without a name the only one, else their list. Raises: OutputNameError, RemoteError."""
    task = await context.api.get(f"/corral/v1/tasks/{asked.task}")
    outputs: list[Json] = task["outputs"]
    head = choose(task, "id", "state")
    if asked.name is None and not outputs:
        return _show_values(context, task, head)
    if asked.name is None and len(outputs) > 1:
        links = tuple(_make_link(context, task, output) for output in outputs)
        listed = [choose(output, "name", "size", "media_type") for output in outputs]
        return ToolAnswer(value={**head, "outputs": listed, "note": "give a `name` to see one"}, links=links)
    return await _show_file(context, task, _find(outputs, asked.name), head)


def _find(outputs: Sequence[Json], name: str | None) -> Json:
    for output in outputs:
        if name is None or output["name"] == name:
            return output
    hint = did_you_mean(str(name), [output["name"] for output in outputs], otherwise="`get_task` lists its outputs")
    raise OutputNameError(f"the task has no output {str(name)[:80]!r}", where="name", hint=hint)


def _show_values(context: ToolContext, task: Json, head: dict[str, Json]) -> ToolAnswer:
    """Show the small results of a task that made no file."""
    if not task["result"]:
        return ToolAnswer(value={**head, "outputs": "none", "error": task["error"]})
    name, content = write_out_values(task["result"])
    text = content.decode()
    if len(content) <= LARGEST_TEXT:
        return ToolAnswer(value={**head, "text": text})
    url = context.make_link(f"/corral/v1/tasks/{task['id']}")
    link = Link(url=url, name=name, media_type="application/json", size=len(content))
    return ToolAnswer(value={**head, "begins": text[: LARGEST_TEXT // 4], "bytes": len(content)}, links=(link,))


async def _show_file(context: ToolContext, task: Json, output: Json, head: dict[str, Json]) -> ToolAnswer:
    link = _make_link(context, task, output)
    value = {**head, **choose(output, "name", "size", "media_type", "sha256"), "url": link.url}
    path, media_type, size = _make_path(task, output), output["media_type"], output["size"]
    if media_type.startswith(_SHOWN_AS_TEXT) and size <= LARGEST_TEXT:
        content = await _read(context.api, path)
        return ToolAnswer(value={**value, "text": content.decode(errors="replace")})
    if media_type.startswith("image/"):
        return ToolAnswer(value=value, picture=await _read_thumbnail(context.api, output), links=(link,))
    return ToolAnswer(value=value, links=(link,))


async def _read(api: ServerApi, path: str) -> bytes:
    return b"".join([chunk async for chunk in api.read(path)])


async def _read_thumbnail(api: ServerApi, output: Mapping[str, Json]) -> Picture | None:
    """Get the server's small picture; None of what it cannot make smaller."""
    try:
        content = await _read(api, f"/corral/v1/artifacts/{output['sha256']}/thumbnail")
    except RemoteError:
        return None
    return Picture(content=content, media_type="image/jpeg")


def _make_path(task: Mapping[str, Json], output: Mapping[str, Json]) -> str:
    return f"/corral/v1/tasks/{task['id']}/outputs/{quote(output['name'], safe='')}"


def _make_link(context: ToolContext, task: Mapping[str, Json], output: Mapping[str, Json]) -> Link:
    url = context.make_link(_make_path(task, output))
    return Link(url=url, name=output["name"], media_type=output["media_type"], size=output["size"])
