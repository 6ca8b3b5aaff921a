"""Opens and closes the gates of slots and queues."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from corral.cli import terminal
from corral.client.connection import ask

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

_SINGULAR = {"slots": "slot", "queues": "queue"}


def change_gate(
    kind: Literal["slots", "queues"],
    name: str,
    verb: Literal["pause", "resume", "drain"],
    *,
    url: str | None,
    data_dir: Path | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Ask the server to change a gate, and say how it is now. Raises: NoServerError, RemoteError."""
    if dry_run:
        terminal.say(f"would {verb} the {_SINGULAR[kind]} {name}")
        return

    async def use(api: Api) -> Json:
        return await api.post(f"/corral/v1/{kind}/{quote(name)}/{verb}")

    answer = ask(url, data_dir, use)
    if as_json:
        terminal.put_json(answer)
    else:
        terminal.put(f"{_SINGULAR[kind]} {name}: {answer['gate']}")
