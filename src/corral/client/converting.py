"""Workflows from an engine's editor, converted by the server before they are used in a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from corral.batchfile.sources import Convert
from corral.client.api import Api
from corral.client.connection import call_server
from corral.work import Json


async def request_conversion(
    api: Api, engine: str, workflow: Mapping[str, Json], *, instance: str | None = None
) -> Json:
    """Have the server convert a workflow; the answer is that of the HTTP API. Raises: RemoteError."""
    path = f"/corral/v1/engines/{quote(engine, safe='')}/convert"
    return await api.post(path, {"workflow": workflow, **({"instance": instance} if instance is not None else {})})


def make_converter(url: str | None, data_dir: Path | None, note: Callable[[str], None]) -> Convert:
    """Return a conversion by the server that is named, else by the one of the data directory.

    `note` is called with each text that the editor's page would have resolved.
    """

    def convert(engine: str, workflow: Mapping[str, Json]) -> dict[str, Json]:
        answer = call_server(url, data_dir, lambda api: request_conversion(api, engine, workflow))
        for entry in answer["notes"]:
            note(format_note(entry))
        return answer["workflow"]

    return convert


def format_note(note: Mapping[str, Json]) -> str:
    """Write a note of a conversion for people."""
    return f"note: {note['where']}: {note['what']}\n  {note['hint']}"
