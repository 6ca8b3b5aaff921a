"""`corral usage`: requests and tokens of keys, models and days."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, Url, make_example
from corral.client.connection import call_server


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("usage", epilog=make_example("corral usage --by model --since 2026-11-01"))(usage)


def usage(
    by: Annotated[
        Literal["key", "model", "day"], typer.Option("--by", help="Sum up by key, by model or by day (UTC).")
    ] = "key",
    since: Annotated[
        str | None, typer.Option("--since", metavar="DAY", help="Count from this day on, such as 2026-11-01.")
    ] = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show requests and tokens of keys, models or days."""
    query = {"by": by} if since is None else {"by": by, "since": since}
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/usage", query))
    if as_json:
        terminal.put_json(answer)
        return
    titles = ("key", "owner") if by == "key" else (by,)
    rows = [
        (
            *(line[title] or "(no key)" for title in titles),
            *(f"{line[name]:,}" for name in ("requests", "prompt_tokens", "completion_tokens")),
        )
        for line in answer["items"]
    ]
    terminal.put_table((*titles, "requests", "tokens read", "written"), rows, empty="no model was used")
