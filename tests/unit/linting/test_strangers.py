"""Files as strangers wrote them, one folder for each: every mistake is found on its line, and nothing else is.

A comment `finds: A10, B04` names the errors and warnings of its line; notes are not compared. `cluster.yaml` is the
hardware. The sources are public bug reports and repositories, shortened.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.linting.runner import lint
from corral.linting.values import Gap, Severity, Source

FOLDERS = sorted(folder for folder in (Path(__file__).parent / "strangers").iterdir() if folder.is_dir())
_MARK = re.compile(r"finds: (?P<rules>[A-Z]\d{2}(?:, [A-Z]\d{2})*)")
_CLUSTER = "cluster.yaml"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_mistakes_of_strangers_are_found_and_nothing_else(folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    hardware = files.pop(_CLUSTER, None)
    cluster = load(hardware, filename=_CLUSTER, find_gpu=find_gpu) if hardware else None
    report = lint([Source(name=name, text=text) for name, text in files.items()], cluster=cluster)
    expected = {
        (name, number, rule)
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if (mark := _MARK.search(line))
        for rule in mark["rules"].split(", ")
    }
    reported = {
        (finding.place.file, finding.place.line, finding.rule.id)
        for finding in report.findings
        if finding.weight is not Severity.NOTE
    }
    assert reported == expected


def test_a_file_of_an_unknown_kind_is_listed_as_not_judged() -> None:
    report = lint([Source(name="main.tf", text='resource "kubernetes_deployment" "ollama" {}\n')])
    (part,) = report.unread
    assert (part.place.file, part.gap) == ("main.tf", Gap.UNJUDGED)


def test_an_overlay_is_judged_the_same_with_and_without_a_template_beside_it() -> None:
    folder = Path(__file__).parent / "strangers" / "template-beside"
    sources = [Source(name=path.name, text=path.read_text(encoding="utf-8")) for path in sorted(folder.iterdir())]
    alone = [source for source in sources if "template" not in source.name]
    assert len(alone) < len(sources)
    assert lint(sources).findings == lint(alone).findings
