"""The pages of the rules are the texts of the rules: each in one form, one for each check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from corral.linting.registry import parse_rule, read_rules
from corral.linting.rules import CHECKS
from corral.linting.values import Severity

FOLDER = Path(__file__).parents[2] / "docs" / "rules"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
SECTIONS = ["In practice", "Why", "Fix", "Found", "Not found"]


def parts(page: Path) -> tuple[str, str]:
    _, head, body = page.read_text(encoding="utf-8").split("---\n", 2)
    return head, body


def test_every_rule_has_a_page_and_every_page_a_rule() -> None:
    assert [page.stem for page in PAGES] == [check.rule.id for check in CHECKS] == list(read_rules())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_front_matter_is_yaml_with_name_severity_and_summary(page: Path) -> None:
    rule = read_rules()[page.stem]
    head, _ = parts(page)
    assert yaml.safe_load(head) == {"name": rule.name, "severity": rule.severity.value, "summary": rule.summary}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_title_and_its_sections_in_order(page: Path) -> None:
    _, body = parts(page)
    prose = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", body, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^# (.+)$", prose, re.MULTILINE) == [f"{page.stem} {read_rules()[page.stem].name}"]
    assert re.findall(r"^## (.+)$", prose, re.MULTILINE) == SECTIONS
    assert f"<!-- generated: rule-{page.stem} -->\n" in body


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sections_are_sentences_and_the_summary_is_a_phrase(page: Path) -> None:
    rule = read_rules()[page.stem]
    assert all(text.endswith((".", ":", "?", "!", "]", "`")) for text in (rule.practice, rule.source, rule.fix))
    assert not rule.summary.endswith(".")


PAGE = """---
name: no-spare
severity: warning
summary: "`a: b`: no spare"
---

# A01 no-spare

## In practice

It waits
for long.

## Why

Seen.

## Fix

Add one.

<!-- generated: rule-A01 -->
"""


def test_a_page_is_read_as_its_rule() -> None:
    rule = parse_rule("A01", PAGE)
    assert (rule.id, rule.name, rule.severity) == ("A01", "no-spare", Severity.WARNING)
    assert rule.summary == "`a: b`: no spare"
    assert (rule.practice, rule.source, rule.fix) == ("It waits for long.", "Seen.", "Add one.")


@pytest.mark.parametrize("line", ["name: no-spare\n", "## Why\n", "summary: "])
def test_a_page_without_a_part_is_refused_with_its_name(line: str) -> None:
    with pytest.raises(LookupError, match="the page of rule A01 has no"):
        parse_rule("A01", PAGE.replace(line, ""))
