"""Each rule has a folder of examples: `bad*`, with a comment `finds: <id>` on each line that it must name, and `good*`.

An example that is a folder is linted as one, for rules that look across files; `cluster.yaml` in it is the hardware.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.linting.registry import Check
from corral.linting.rules import CHECKS
from corral.linting.runner import lint
from corral.linting.values import Gap, Report, Severity, Source

EXAMPLES = Path(__file__).parent / "rules"
_MARK = re.compile(r"finds: (?P<rules>[A-Z]\d{2}(?:, [A-Z]\d{2})*)")
_CLUSTER = "cluster.yaml"


def cases(kind: str) -> Iterator[Path]:
    for folder in sorted(EXAMPLES.iterdir()):
        yield from sorted(path for path in folder.iterdir() if path.name.startswith(kind))


def sources(case: Path) -> list[Source]:
    files = sorted(path for path in case.rglob("*") if path.is_file()) if case.is_dir() else [case]
    root = case if case.is_dir() else case.parent
    return [
        Source(name=str(file.relative_to(root)), text=file.read_text(encoding="utf-8"))
        for file in files
        if file.name != _CLUSTER
    ]


def judged(case: Path) -> Report:
    hardware = case / _CLUSTER
    cluster = load(hardware.read_text(), filename=_CLUSTER, find_gpu=find_gpu) if hardware.exists() else None
    return lint(sources(case), cluster=cluster)


def title(case: Path) -> str:
    return f"{case.parent.name}/{case.name}"


@pytest.mark.parametrize("case", list(cases("bad")), ids=title)
def test_the_mistake_is_found_on_its_line(case: Path) -> None:
    rule = case.parent.name
    wanted = {
        (source.name, number)
        for source in sources(case)
        for number, line in enumerate(source.text.splitlines(), 1)
        if (mark := _MARK.search(line)) and rule in mark["rules"].split(", ")
    }
    findings = {
        (finding.place.file, finding.place.line) for finding in judged(case).findings if finding.rule.id == rule
    }
    assert wanted, "the example marks no line"
    assert findings == wanted


@pytest.mark.parametrize("case", list(cases("good")), ids=title)
def test_what_is_right_is_left_alone(case: Path) -> None:
    report = judged(case)
    assert [part for part in report.unread if part.gap is not Gap.UNJUDGED] == []
    assert [
        f"{finding.place} {finding.rule.id} {finding.what}"
        for finding in report.findings
        if finding.weight is not Severity.NOTE
    ] == []
    assert case.parent.name not in {finding.rule.id for finding in report.findings}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.rule.id)
def test_a_rule_has_a_failing_and_a_passing_example_and_says_everything(check: Check) -> None:
    names = [path.name for path in (EXAMPLES / check.rule.id).iterdir()]
    assert any(name.startswith("bad") for name in names)
    assert any(name.startswith("good") for name in names)
    rule = check.rule
    assert re.fullmatch(r"[A-Z]\d{2}", rule.id)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
    assert all(text.strip() and text[-1] not in " \n" for text in (rule.summary, rule.practice, rule.source, rule.fix))


def test_ids_and_names_are_given_once() -> None:
    assert len({check.rule.id for check in CHECKS}) == len(CHECKS)
    assert len({check.rule.name for check in CHECKS}) == len(CHECKS)


def test_every_example_belongs_to_a_rule() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {check.rule.id for check in CHECKS}
