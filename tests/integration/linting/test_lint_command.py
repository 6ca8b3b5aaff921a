"""`corral lint` as it is typed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest

from doubles.installed import CORRAL, a_terminal

ERRORS = 1
WARNINGS = 8
BAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: ai}
spec:
  strategy: {type: Recreate}
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      nodeSelector: {example.org/vram: 32}
      containers:
        - name: app
          image: example.org/app:latest
          resources: {limits: {nvidia.com/gpu: 1}, requests: {nvidia.com/gpu: 2}}
"""


def corral(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CORRAL, *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "app.yaml").write_text(BAD)
    return tmp_path


def test_findings_say_where_what_why_and_what_to_do(folder: Path) -> None:
    done = corral(folder, "lint", "manifests", "-v")
    assert done.returncode == ERRORS
    assert "manifests/app.yaml:10:40: error[A21 label-value-not-string]" in done.stdout
    assert "[Deployment ai/app]" in done.stdout
    assert all(word in done.stdout for word in ("in practice:", "why:", "fix:"))
    assert "2 errors, 1 warning, 0 notes in 1 document of 1 file" in done.stdout


def test_the_verdict_comes_first_then_the_rules_with_their_places_and_fixes(folder: Path) -> None:
    (folder / "manifests" / "again.yaml").write_text(BAD)
    done = corral(folder, "lint", "manifests")
    verdict, *lines = done.stdout.splitlines()
    assert verdict == "4 errors, 2 warnings, 0 notes in 2 documents of 2 files"
    assert [line for line in lines if not line.startswith(" ")] == [
        "error A04 gpu-request-ne-limit: 2 places, `--fix` changes it",
        "error A21 label-value-not-string: 2 places, `--fix` changes it",
        "warning B11 image-latest: 2 places",
    ]
    assert sum(line.startswith("  manifests/") for line in lines) == 6
    assert sum(line.startswith("  fix: ") for line in lines) == 3


def test_many_findings_of_one_rule_have_their_first_places_and_the_number_of_the_others(folder: Path) -> None:
    for number in range(8):
        (folder / "manifests" / f"{number}.yaml").write_text(BAD)
    lines = corral(folder, "lint", "manifests").stdout.splitlines()
    assert "error A04 gpu-request-ne-limit: 9 places, `--fix` changes it" in lines
    assert "  ... and 7 more" in lines


def test_rules_are_listed_by_family_and_one_by_one_with_verbose(folder: Path) -> None:
    families = corral(folder, "lint", "--rules").stdout
    assert "GPU requests, scheduling, rollouts" in families
    assert "gpu-rollout-deadlock" not in families
    assert "gpu-rollout-deadlock" in corral(folder, "lint", "--rules", "-v").stdout


def test_the_exit_code_says_how_bad_it_is(folder: Path) -> None:
    file = folder / "manifests" / "app.yaml"
    file.write_text(BAD.replace(": 32", ': "32"').replace(", requests: {nvidia.com/gpu: 2}", ""))
    assert corral(folder, "lint", "manifests").returncode == WARNINGS
    file.write_text(file.read_text().replace(":latest", ":1.0"))
    assert corral(folder, "lint", "manifests").returncode == 0


def test_json_has_everything_that_the_text_has(folder: Path) -> None:
    report = json.loads(corral(folder, "lint", "manifests", "--json").stdout)
    assert {finding["rule"] for finding in report["findings"]} == {"A04", "A21", "B11"}
    first = report["findings"][0]
    assert {"rule", "name", "severity", "file", "line", "column", "object", "what", "practice", "source", "fix"} <= set(
        first
    )


def test_sarif_names_rules_places_and_levels(folder: Path) -> None:
    sarif = json.loads(corral(folder, "lint", "manifests", "--format", "sarif").stdout)
    jsonschema.validate(sarif, SARIF_PARTS)
    (run,) = sarif["runs"]
    known = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in run["results"]} <= known


def test_github_gets_one_annotation_for_each_finding(folder: Path) -> None:
    done = corral(folder, "lint", "manifests", "--format", "github")
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("::error file=manifests/app.yaml,line=10,col=40,title=A21 label-value-not-string::")


def test_fix_shows_a_diff_writes_once_agreed_and_lints_again(folder: Path) -> None:
    file = folder / "manifests" / "app.yaml"
    shown = corral(folder, "lint", "manifests", "--fix", "--dry-run")
    assert file.read_text() == BAD
    assert '+      nodeSelector: {example.org/vram: "32"}' in shown.stderr
    done = corral(folder, "lint", "manifests", "--fix", "--yes")
    assert done.returncode == WARNINGS
    assert file.read_text() == BAD.replace(": 32", ': "32"').replace("gpu: 2}", "gpu: 1}")


def test_fix_without_an_answer_changes_nothing(folder: Path) -> None:
    done = corral(folder, "lint", "manifests", "--fix")
    assert done.returncode != 0
    assert (folder / "manifests" / "app.yaml").read_text() == BAD


def test_the_number_of_files_is_on_a_terminal_while_many_are_linted(folder: Path) -> None:
    (folder / "manifests" / "large.yaml").write_text("text: a line of a file that is large\n---\n" * 40_000)
    assert "linting" not in corral(folder, "lint", "manifests").stderr
    with a_terminal(folder, "lint", "manifests") as terminal:
        assert "linting 2 files" in terminal.rest()


def test_few_files_need_no_status(folder: Path) -> None:
    with a_terminal(folder, "lint", "manifests") as terminal:
        assert "linting" not in terminal.rest()


def test_fix_twice_changes_nothing_more(folder: Path) -> None:
    file = folder / "manifests" / "app.yaml"
    file.write_text(f"# ä comment\n{BAD}x-anchor: &a {{b: 1}} # kept\nx-alias: *a\n")
    corral(folder, "lint", "manifests", "--fix", "--yes")
    once = file.read_text()
    again = corral(folder, "lint", "manifests", "--fix", "--yes")
    assert once != BAD
    assert (file.read_text(), "nothing can be fixed safely" in again.stderr) == (once, True)
    assert "# ä comment" in once
    assert "x-anchor: &a {b: 1} # kept\nx-alias: *a\n" in once


def test_all_missing_paths_are_reported_at_once(folder: Path) -> None:
    done = corral(folder, "lint", "nowhere.yaml", "manifests", "neither.yaml")
    assert done.returncode == 2
    assert "nowhere.yaml" in done.stderr
    assert "neither.yaml" in done.stderr


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    done = corral(tmp_path, "lint", ".")
    assert (done.returncode, "nothing to lint" in done.stderr) == (3, True)


def test_a_rule_is_explained_and_all_are_listed(folder: Path) -> None:
    assert "gpu-rollout-deadlock" in corral(folder, "lint", "--explain", "A02").stdout
    assert len(json.loads(corral(folder, "lint", "--rules", "--json").stdout)["items"]) >= 70
    unknown = corral(folder, "lint", "--explain", "Z99")
    assert (unknown.returncode, "there is no rule" in unknown.stderr) == (3, True)


SARIF_PARTS = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "items": {
                "required": ["tool", "results"],
                "properties": {
                    "results": {
                        "minItems": 1,
                        "items": {
                            "required": ["ruleId", "level", "message", "locations"],
                            "properties": {
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "locations": {
                                    "items": {
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation", "region"],
                                                "properties": {
                                                    "region": {
                                                        "properties": {
                                                            "startLine": {"minimum": 1},
                                                            "startColumn": {"minimum": 1},
                                                        }
                                                    }
                                                },
                                            }
                                        }
                                    }
                                },
                            },
                        },
                    }
                },
            }
        },
    },
}
"""What the standard (SARIF 2.1.0, OASIS) asks of the parts that we write."""


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('kind: RuntimeClass\nmetadata:\n  name:"nvidia"\nhandler:"nvidia"\n', 3, "no space after the colon"),
        ("kind: Pod\nspec:\n\tcontainers: []\n", 3, "a tab before a key"),
        ("{{ if .Values.on }}\nkind: Pod\n{{ end }}\n", 2, "render it first"),
    ],
)
def test_a_named_file_that_cannot_be_read_is_a_failure_with_its_line(
    text: str, line: int, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "runtime.yaml"
    file.write_text(text)
    named = subprocess.run([CORRAL, "lint", file, "--json"], capture_output=True, text=True, check=False)
    (part,) = json.loads(named.stdout)["unread"]
    assert (named.returncode, part["line"], part["gap"]) == (1, line, "unreadable")
    assert why in part["why"]
    marked = subprocess.run([CORRAL, "lint", file, "--format", "github"], capture_output=True, text=True, check=False)
    assert f"::warning file={file},line={line}," in marked.stdout
    folder = subprocess.run([CORRAL, "lint", tmp_path], capture_output=True, text=True, check=False)
    assert folder.returncode == 0
    assert why in " ".join(folder.stdout.split())
