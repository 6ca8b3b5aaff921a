"""The documents of the two installations, where they lie beside the project: each mistake is found on its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.linting.runner import lint
from corral.linting.values import Source
from doubles.clusters import open_cluster

ROOT = Path(__file__).parents[3]
SEEDS = ROOT.parent / "shared" / "seeds"
MISTAKES = {
    "hydra-upgrade-analysis.md": (
        "examples/hydra/before.yaml",
        {
            ("A01", "topologyKey"),
            ("A02", "replicas: 2"),
            ("A10", 'value: "1"'),
            ("A28", "DataParallel"),
            ("A29", "(SM 100 vs SM 86)"),
            ("D01", "comfyui-lb"),
            ("D02", "selector:"),
            ("E06", "image:"),
            ("F01", "hydra.io/workload=training"),
            ("F02", "has-3060=true"),
            ("F06", "token = "),
        },
    ),
    "harvis-two-gpu-setup.md": ("examples/harvis/cluster.yaml", {("B08", "deepseek-r1:70b")}),
}
PRESENT = [SEEDS / name for name in MISTAKES if (SEEDS / name).exists()]


@pytest.mark.parametrize("path", PRESENT, ids=lambda path: path.name)
def test_the_mistakes_of_the_document_are_found_on_their_lines(path: Path) -> None:
    cluster, wanted = MISTAKES[path.name]
    text = path.read_text(encoding="utf-8")
    report = lint([Source(name=path.name, text=text)], cluster=open_cluster(ROOT / cluster).cluster)
    lines = text.splitlines()
    findings = {(finding.rule.id, lines[finding.place.line - 1]) for finding in report.findings}
    missing = {(rule, part) for rule, part in wanted if not any(rule == id_ and part in line for id_, line in findings)}
    assert missing == set()
    assert report.unread == ()
