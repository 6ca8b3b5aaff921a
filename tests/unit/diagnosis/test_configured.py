"""Rules of the linter over live objects: what a file breaks, an object breaks; what is rendered breaks none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from corral.diagnosis.case import Case
from corral.diagnosis.configured import LIVE_RULES
from corral.diagnosis.diagnosing import diagnose
from corral.diagnosis.matching import HOSTNAME
from corral.diagnosis.questions import list_questions
from corral.diagnosis.values import ContainerKey
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.rendering import RenderAsked, render_files
from corral.rendering.nodes import make_node_labels
from corral.snapshot import Kind, Snapshot

_REPOSITORY = Path(__file__).parents[3]
_EXAMPLES = _REPOSITORY / "tests" / "unit" / "linting" / "rules"


def _load_objects(text: str) -> list[Any]:
    """Load manifests as an API server has them: with a namespace each."""
    values = [value for value in yaml.safe_load_all(text) if value and "metadata" in value]
    for value in values:
        if value["kind"] not in ("Namespace", "Node", "PersistentVolume", "PriorityClass", "StorageClass"):
            value["metadata"].setdefault("namespace", "default")
    return values


@pytest.mark.parametrize("rule", LIVE_RULES)
def test_rule_judges_an_object_as_it_judges_a_file(rule: str) -> None:
    ids: dict[str, set[str]] = {}
    for example in ("bad", "good"):
        objects = _load_objects((_EXAMPLES / rule / f"{example}.yaml").read_text(encoding="utf-8"))
        findings = diagnose(Case(snapshot=Snapshot.make(objects))).findings
        ids[example] = {entry.pitfall.id for entry in findings}
        shown = [str(entry.evidence[0]) for entry in findings if entry.pitfall.id == rule]
        assert all(" spec" in text or " data" in text or " metadata" in text for text in shown), shown
    assert rule in ids["bad"]
    assert rule not in ids["good"]


@pytest.mark.parametrize(("example", "layout"), [("harvis", "edge"), ("harvis", "workstation"), ("hydra", "pool")])
def test_rendered_installation_on_nodes_as_its_file_has_them_has_no_findings(example: str, layout: str) -> None:
    path = _REPOSITORY / "examples" / example / "cluster.yaml"
    file = FileText(text=path.read_text(encoding="utf-8"), name=path.name)
    cluster = check_cluster(file).cluster
    rendered = render_files(RenderAsked(cluster=file, layouts=(layout,), only=("kubernetes", "kueue")))
    names = [name for name in rendered.files if "/base/" in name or "/overlays/" in name or name.startswith("kueue/")]
    texts = [rendered.files[name] for name in names if not name.endswith("kustomization.yaml")]
    objects = [value for text in texts for value in _load_objects(text)]
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": node.name,
                "labels": {HOSTNAME: node.name, **make_node_labels(cluster, node)},
            },
            "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"memory": "128Gi"}},
        }
        for node in cluster.nodes
    ]
    findings = diagnose(Case(snapshot=Snapshot.make([*objects, *nodes]), cluster=cluster)).findings
    # ComfyUI behind a LoadBalancer would be one; Hydra's leads to the door of its queue.
    assert {(entry.pitfall.id, str(entry.subject)) for entry in findings} == set()


def test_diagnosis_without_its_objects_is_not_made_but_named() -> None:
    unread = {Kind("", "Service"): "services is forbidden"}
    snapshot = Snapshot(objects={}, served=frozenset(), unread=unread)
    diagnoses = diagnose(Case(snapshot=snapshot))
    assert diagnoses.findings == ()
    assert {"D01", "D05", "K06"} <= {entry.pitfall.id for entry in diagnoses.unjudged}
    assert {entry.why for entry in diagnoses.unjudged} == {"services is forbidden"}


def _make_pod(name: str, *statuses: dict[str, Any], gpus: int = 0) -> Any:
    resources = {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}} if gpus else {}
    containers = [{"name": status["name"], "image": "example.org/program:1", **resources} for status in statuses]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "ai"},
        "spec": {"containers": containers},
        "status": {"phase": "Running", "containerStatuses": list(statuses)},
    }


def test_containers_in_trouble_and_those_with_a_gpu_are_asked_and_no_others() -> None:
    starting = {"state": {"waiting": {"reason": "ContainerCreating"}}, "ready": False}
    running = {"state": {"running": {"startedAt": "2026-11-01T00:00:00Z"}}, "ready": True}
    pods = (
        _make_pod("fine", {"name": "main", **running}),
        _make_pod("with-gpu", {"name": "main", **running}, gpus=1),
        _make_pod("restarted", {"name": "main", **running, "restartCount": 2}),
        _make_pod("loading", {"name": "main", **running, "ready": False}),
        _make_pod("not-started", {"name": "main", **starting}),
        _make_pod("nvidia-device-plugin", {"name": "plugin", **running}),
    )
    questions = list_questions(Snapshot.make(pods))
    assert set(questions.logs) == {
        ContainerKey("ai", "restarted", "main"),
        ContainerKey("ai", "loading", "main"),
        ContainerKey("ai", "nvidia-device-plugin", "plugin"),
    }
    assert questions.gpus == (ContainerKey("ai", "with-gpu", "main"),)
