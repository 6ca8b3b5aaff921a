"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pieces import code, page, sentence, table
from typer.main import get_command

from corral.cli.main import app
from corral.cli.options import ROOT

_WIDE = 10_000
"""So wide that help texts are not broken into lines."""


def commands() -> Iterator[tuple[str, Any]]:  # Any: Typer's command has no public type
    """Yield every command with its full name, groups before what is in them."""
    yield from _below(ROOT, get_command(app))


def render() -> str:
    """Make the page."""
    listed = list(commands())
    root = listed[0][1]
    return page(
        "Command line",
        "Everything that `corral` can do. `corral COMMAND --help` prints the same on a terminal.",
        "stdout carries data, stderr the rest. [Configuration](configuration.md#exit-codes) lists the exit codes, and "
        "[errors](errors.md) says what errors mean.",
        *(_section(name, command) for name, command in listed if command is not root),
        "## Options of corral itself",
        _options(ROOT, root),
    )


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for word, subcommand in getattr(command, "commands", {}).items():
        if not subcommand.hidden:
            yield from _below(f"{name} {word}", subcommand)


def _section(name: str, command: Any) -> str:
    group = bool(getattr(command, "commands", None))
    level = "##" if group or name.count(" ") == 1 else "###"
    parts = [f"{level} {name}", _about(command)]
    if not group:
        parts += [_options(name, command), _example(command)]
    return "\n\n".join(part for part in parts if part)


def _about(command: Any) -> str:
    paragraphs = (command.help or "").strip().split("\n\n")
    return "\n\n".join(sentence(paragraph) for paragraph in paragraphs)


def _options(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True, terminal_width=_WIDE, max_content_width=_WIDE)
    records = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
    ]
    return table(
        ("argument or option", "meaning"), [(code(left), sentence(right)) for left, right in filter(None, records)]
    )


def _example(command: Any) -> str:
    line = (command.epilog or "").removeprefix("Example: ")
    return f"```sh\n{line}\n```" if line else ""
