"""Writes a checklist as Markdown, for the upgrade report and for paper."""

from __future__ import annotations

from collections.abc import Iterator

from corral.planning.checklist.values import Checklist, Item, ItemKind


def checklist_markdown(checklist: Checklist, *, level: int = 2) -> str:
    """Write all items under a heading for each phase; `level` is that of the headings."""
    if not checklist.items:
        return "Nothing has to be done: the two cluster files describe the same machines and services.\n"
    parts = [
        "\n".join([f"{'#' * level} {phase.value.capitalize()} phase", "", *_lines(checklist.of(phase))])
        for phase in checklist.phases
    ]
    return "\n\n".join(parts) + "\n"


def _lines(items: tuple[Item, ...]) -> Iterator[str]:
    for item in items:
        yield f"- [ ] **{item.title}** ({item.kind.value}): {_task(item)}. Why: {item.why}."
        if item.material:
            yield from ["", "  ```text", *(f"  {line}".rstrip() for line in item.material.splitlines()), "  ```", ""]


def _task(item: Item) -> str:
    return f"`{item.task}`" if item.kind is ItemKind.COMMANDED else item.task.rstrip(".")
