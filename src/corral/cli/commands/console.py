"""`corral console`."""

from __future__ import annotations

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, Url, make_example
from corral.client.connection import call_server


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("console", epilog=make_example("corral console"))(console)


def console(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print a link to the console, the server's web page.

    Where the server asks for tokens, the link logs one browser in, once, within 15 minutes.
    """
    answer = call_server(url, data_dir, lambda api: api.post("/corral/v1/session/link", {}))
    if as_json:
        terminal.put_json(answer)
        return
    terminal.put(answer["link"])
