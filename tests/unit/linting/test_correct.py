"""A corpus of configuration that is right: no rule may find an error or a warning in it, alone and all together."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.linting.runner import lint
from corral.linting.values import Gap, Report, Severity, Source

CORRECT = Path(__file__).parent / "correct"
PARTS = sorted(path for path in CORRECT.iterdir() if path.is_dir())


def read(*folders: Path) -> list[Source]:
    return [
        Source(name=path.relative_to(CORRECT).as_posix(), text=path.read_text(encoding="utf-8"))
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def alarms(report: Report) -> list[str]:
    return [
        f"{finding.place} {finding.rule.id} {finding.what} [{finding.subject}]"
        for finding in report.findings
        if finding.weight is not Severity.NOTE
    ]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_what_is_right_is_left_alone(part: Path) -> None:
    report = lint(read(part))
    assert alarms(report) == []
    assert [part for part in report.unread if part.gap is not Gap.UNJUDGED] == []


def test_all_of_it_together_is_left_alone() -> None:
    report = lint(read(*PARTS))
    assert alarms(report) == []
    assert report.files > 60


@pytest.mark.parametrize("source", read(*PARTS), ids=lambda source: source.name)
def test_each_file_alone_is_left_alone(source: Source) -> None:
    if "shop" not in source.name and "kustomization" not in source.name:  # alone, neither is what is deployed
        assert alarms(lint([source])) == []
