"""`corral usage`: requests, tokens and seconds of keys, models, engines, doors and days."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, Url, make_example
from corral.client.connection import call_server

_NONE = {"key": "(no key)", "engine": "(elsewhere, or unknown)"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("usage", epilog=make_example("corral usage --by model --since 2026-11-01"))(usage)


def usage(
    by: Annotated[
        Literal["key", "model", "day", "engine", "door"],
        typer.Option("--by", help="Sum up by key, model, engine, door (the way in) or day (UTC)."),
    ] = "key",
    since: Annotated[
        str | None, typer.Option("--since", metavar="DAY", help="Count from this day on, such as 2026-11-01.")
    ] = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the requests, tokens and seconds of keys and models."""
    query = {"by": by} if since is None else {"by": by, "since": since}
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/usage", query))
    if as_json:
        terminal.put_json(answer)
        return
    titles = ("key", "owner") if by == "key" else (by,)
    rows = [
        (
            *(line[title] or _NONE.get(title, "unknown") for title in titles),
            *(f"{line[name]:,}" for name in ("requests", "prompt_tokens", "completion_tokens")),
            f"{line['seconds']:,.1f}",
        )
        for line in answer["items"]
    ]
    terminal.put_table((*titles, "requests", "tokens read", "written", "seconds"), rows, empty="no model was used")
