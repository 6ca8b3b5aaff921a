"""`corral version`."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, make_example


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("version", epilog=make_example("corral version"))(version)


def register_option(app: typer.Typer) -> None:
    """Add `--version` to the command itself: what other programs try first."""
    app.callback()(_take_option)


def version(as_json: AsJson = False) -> None:
    """Print the version of Corral."""
    from corral import __version__

    if as_json:
        terminal.put_json({"name": "corral", "version": __version__})
    else:
        terminal.put(f"corral {__version__}")


def _print_and_exit(is_given: bool) -> None:
    if is_given:
        version()
        raise typer.Exit


def _take_option(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_and_exit, is_eager=True, help="Print the version of Corral.")
    ] = False,
) -> None:
    """Hold the option; `_print_and_exit` does what it asks for."""
