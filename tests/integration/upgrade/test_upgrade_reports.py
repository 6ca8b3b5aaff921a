"""Whole reports, kept as files: Hydra's upgrade, and one that makes it worse.

After a change that is meant: `REGENERATE=1 pytest tests/integration/upgrade/test_upgrade_reports.py`, then read the
difference. `examples/hydra/upgrade.md` is what the guide shows.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.operations.upgrading import write_texts
from doubles.upgrades import EXAMPLES, HYDRA, hydra

GOLDEN = Path(__file__).parent / "golden"
WORSE = (("replace", "hydra-compute/gpu1=RTX 5090"), ("psu", "hydra-compute=750"))


def without_folders(text: str) -> str:
    """Leave out where the example is on this machine; places in files name it."""
    return text.replace(f"{EXAMPLES}/", "examples/")


@pytest.mark.parametrize(
    ("file", "kind", "changes"),
    [
        (EXAMPLES / "hydra" / "upgrade.md", "markdown", HYDRA),
        (GOLDEN / "hydra.json", "record", HYDRA),
        (GOLDEN / "worse.md", "markdown", WORSE),
    ],
    ids=("hydra.md", "hydra.json", "worse.md"),
)
def test_the_report_is_the_one_that_was_read(file: Path, kind: str, changes: tuple[tuple[str, str], ...]) -> None:
    text = without_folders(write_texts(hydra(*changes), [kind])[kind])

    if os.environ.get("REGENERATE"):
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text


def test_no_report_names_a_folder_of_this_machine() -> None:
    text = without_folders(write_texts(hydra(), ["markdown"])["markdown"])

    assert str(EXAMPLES.parent) not in text


def test_the_guide_shows_the_verdicts_as_they_are() -> None:
    guide = " ".join((EXAMPLES.parent / "docs" / "guides" / "plan-an-upgrade.md").read_text().split())

    for changes in (HYDRA, WORSE):
        assert hydra(*changes).upgrade.recommendation.sentence in guide
