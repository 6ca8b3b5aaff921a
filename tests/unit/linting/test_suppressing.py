"""Comments that accept a finding."""

from __future__ import annotations

import pytest

from corral.linting.runner import UnknownRuleError, apply_fixes, find_rule, lint
from corral.linting.values import Edit, Finding, Position, Report, Source

BAD = "topologyKey: nvidia.com/gpu"


def judged(text: str) -> Report:
    return lint([Source(name="a.yaml", text=text)])


@pytest.mark.parametrize(
    "text",
    [
        f"{BAD} # corral: ignore A01 because we like it\n",
        f"# corral: ignore A01 because we like it\n{BAD}\n",
        f"# corral: ignore A02, A01 - we like it\n{BAD}\n",
        f"a: 1\n{BAD}\n# corral: ignore-file A01: we like it\n",
    ],
)
def test_a_reason_accepts_a_finding(text: str) -> None:
    report = judged(text)
    assert report.findings == ()
    assert [finding.reason for finding in report.suppressed] == ["we like it"]


def test_a_comment_without_a_reason_accepts_nothing_and_is_named() -> None:
    report = judged(f"{BAD} # corral: ignore A01\n")
    assert len(report.findings) == 1
    assert "without a reason" in report.unread[0].why


def test_another_rule_or_another_line_is_not_accepted() -> None:
    report = judged(f"# corral: ignore A02 because\n# corral: ignore A01 because far away\na: 1\n{BAD}\n")
    assert len(report.findings) == 1


def test_a_rule_is_found_by_id_and_by_name_and_a_wrong_one_is_told() -> None:
    assert find_rule("a01").id == find_rule("gpu-antiaffinity-topology-key").id == "A01"
    with pytest.raises(UnknownRuleError):
        find_rule("Z99")


def finding(*edits: Edit) -> Finding:
    return Finding(rule=find_rule("A01"), place=Position("a"), what="", edits=edits)


def test_edits_that_overlap_wait_and_a_finding_is_mended_whole_or_not_at_all() -> None:
    first = finding(Edit("a", 0, 2, "X"))
    second = finding(Edit("a", 1, 3, "Y"), Edit("b", 0, 0, "new "))
    third = finding(Edit("a", 4, 5, "Z"))
    assert apply_fixes({"a": "abcdef", "b": "file"}, [first, second, third]) == {"a": "XcdZf"}
