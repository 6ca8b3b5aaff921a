"""A cluster file from objects as a real API server keeps them: the same as from the manifests that made them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.plane import Plane
from corral.importing.live import write_objects
from corral.kubernetes import Kubectl, Ran
from corral.operations.importing import list_objects
from doubles.imports import CASES, differences_of, gaps_of, import_texts

MANIFESTS = CASES / "pods" / "edge.yaml"


class KubectlOfPlane:
    """kubectl with the kubeconfig of the control plane."""

    def __init__(self, kubeconfig: Path) -> None:
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def run(self, argv: tuple[str, ...], *, deadline_s: float) -> Ran:
        done = subprocess.run(
            argv, env=self._environment, capture_output=True, text=True, check=False, timeout=deadline_s
        )
        return Ran(exit_code=done.returncode, out=done.stdout, errors=done.stderr)


@pytest.fixture
def manifests(namespace: str) -> str:
    """The manifests of the case, in a namespace of the test's own, without the Node, which only a kubelet makes."""
    objects: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8")))
    text = yaml.safe_dump_all(item for item in objects if item["kind"] != "Node")
    return text.replace("ai-agents", namespace).replace("name: ollama-disk", f"name: disk-of-{namespace}")


def test_a_cluster_is_imported_as_the_manifests_that_were_applied(plane: Plane, namespace: str, manifests: str) -> None:
    kubectl = KubectlOfPlane(plane.kubeconfig)
    applied = subprocess.run(
        ["kubectl", f"--kubeconfig={plane.kubeconfig}", "apply", "--filename=-"],
        input=manifests,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert applied.returncode == 0, applied.stderr

    listed = list_objects(Kubectl(kubectl))
    ours = [item for item in listed if _is_of(namespace, item)]
    live = import_texts({source.name: source.text for source in write_objects(ours)})
    written = import_texts({"edge.yaml": manifests})

    assert live.text == written.text
    assert _name_gaps(live) == _name_gaps(written)
    assert differences_of(live) == []


def _is_of(namespace: str, item: dict[str, Any]) -> bool:
    metadata = item["metadata"]
    return metadata.get("namespace") == namespace or metadata["name"] == f"disk-of-{namespace}"


def _name_gaps(answer: Any) -> list[str]:
    return sorted(gap.partition(" ")[2] for gap in gaps_of(answer))
