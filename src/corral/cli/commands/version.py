"""`corral version`."""

from __future__ import annotations

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, make_example


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("version", epilog=make_example("corral version"))(version)


def version(as_json: AsJson = False) -> None:
    """Print the version of Corral."""
    from corral import __version__

    if as_json:
        terminal.put_json({"name": "corral", "version": __version__})
    else:
        terminal.put(f"corral {__version__}")
