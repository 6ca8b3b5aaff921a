"""A corpus of configuration that is right: no rule may find an error or a warning in it, alone and all together."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.linting.runner import lint
from corral.linting.values import Report, Severity, Source

CORRECT = Path(__file__).parent / "correct"
PARTS = sorted(one for one in CORRECT.iterdir() if one.is_dir())


def read(*folders: Path) -> list[Source]:
    return [
        Source(name=one.relative_to(CORRECT).as_posix(), text=one.read_text(encoding="utf-8"))
        for folder in folders
        for one in sorted(folder.rglob("*"))
        if one.is_file()
    ]


def alarms(report: Report) -> list[str]:
    return [
        f"{one.place} {one.rule.id} {one.what} [{one.subject}]"
        for one in report.findings
        if one.weight is not Severity.NOTE
    ]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_what_is_right_is_left_alone(part: Path) -> None:
    report = lint(read(part))
    assert alarms(report) == []
    assert report.unread == ()


def test_all_of_it_together_is_left_alone() -> None:
    report = lint(read(*PARTS))
    assert alarms(report) == []
    assert report.files > 60


@pytest.mark.parametrize("source", read(*PARTS), ids=lambda source: source.name)
def test_each_file_alone_is_left_alone(source: Source) -> None:
    if "shop" not in source.name and "kustomization" not in source.name:  # alone, neither is what is deployed
        assert alarms(lint([source])) == []
