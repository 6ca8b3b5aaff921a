"""Pieces of Markdown: tables, lists, code. Text from the user's file is written so that it cannot become markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from corral.planning.upgrade.differences import Difference, change_text, origins_text


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a table and an empty line; nothing when there is no row."""
    lines = [_row(row) for row in rows]
    if not lines:
        return []
    return [_row(columns), "|" + "---|" * len(columns), *lines, ""]


def differences(rows: Iterable[Difference]) -> list[str]:
    """Write quantities before and after, with where each comes from."""
    return table(
        ("", "Before", "After", "Change", "Where from"),
        ((row.name, row.before_text, row.after_text, change_text(row), origins_text(row)) for row in rows),
    )


def bullets(items: Iterable[str]) -> list[str]:
    """Write a list and an empty line; nothing when there is no item."""
    lines = [f"- {escaped(item)}" for item in items]
    return [*lines, ""] if lines else []


def checkboxes(items: Iterable[tuple[bool, str]]) -> list[str]:
    """Write a list of things to do and an empty line."""
    lines = [f"- [{'x' if done else ' '}] {escaped(text)}" for done, text in items]
    return [*lines, ""] if lines else []


def code(language: str, text: str) -> list[str]:
    """Write a block of code whose fence its text cannot end, and an empty line."""
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{fence}{language}", *text.splitlines(), fence, ""]


def paragraph(text: str) -> list[str]:
    """Write a paragraph and an empty line."""
    return [escaped(text), ""]


def escaped(text: str) -> str:
    """Keep text from becoming markup, outside code: no tag begins, no line ends."""
    parts = text.split("`")
    return "`".join(part if index % 2 else part.translate(_OUTSIDE_CODE) for index, part in enumerate(parts))


_OUTSIDE_CODE = str.maketrans({"<": "&lt;", "\n": " "})


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escaped(cell).replace("|", "\\|").replace("\n", " ") or " " for cell in cells) + " |"
