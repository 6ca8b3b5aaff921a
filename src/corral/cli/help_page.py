"""The page of `corral --help`: the commands by what they are for, in the order in which a newcomer needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter

COMMANDS_BY_PURPOSE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Run work": (
            "up",
            "down",
            "console",
            "mcp",
            "run",
            "submit",
            "hold",
            "status",
            "tasks",
            "batches",
            "characters",
            "sets",
            "queues",
            "slots",
            "holds",
        ),
        "Plan": (
            "init",
            "import",
            "inventory",
            "fit",
            "plan",
            "power",
            "forecast",
            "upgrade",
            "loadtest",
            "gpus",
            "schema",
        ),
        "Deploy": (
            "render",
            "apply",
            "diff",
            "verify",
            "switch",
            "delete",
            "logs",
            "lint",
            "checklist",
            "doctor",
            "service",
        ),
        "Manage": ("models", "engines", "pictures", "uploads", "tokens", "usage", "notify", "audit", "reload", "gc"),
        "Keep": ("backup", "restore", "rollback", "version"),
    }
)
"""Every command, under a title; a test holds that none is missing."""

_MARGINS = 4
"""Columns before a command and before its line."""


class CommandsByPurpose(TyperGroup):
    """The command `corral` with its commands under titles."""

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the commands into the page, a line each."""
        del ctx
        longest = max(map(len, self.commands))
        for title, names in COMMANDS_BY_PURPOSE.items():
            with formatter.section(title):
                formatter.write_dl(list(self._list_rows(names, formatter.width - longest - _MARGINS)))

    def _list_rows(self, names: tuple[str, ...], width: int) -> Iterator[tuple[str, str]]:
        for name in names:
            command = self.commands.get(name)
            if command is not None:
                yield name, command.get_short_help_str(width)
