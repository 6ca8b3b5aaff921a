"""`corral doctor --kubernetes`: what it prints, and what it says of kinds that it may not read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from control_plane.plane import Plane
from control_plane.scenes import HOST, PATHS, Scene


def test_command_prints_causes_and_names_kinds_that_it_cannot_read(scene: Scene, plane: Plane, tmp_path: Path) -> None:
    node = scene.add_node("alone")
    scene.create_pod("elsewhere", scene.spec(nodeSelector={HOST: "pop-os"}))
    path = f"{PATHS['Pod'].format(scene.namespace)}/elsewhere"
    scene.wait_until(path, lambda pod: "Unschedulable" in str(pod["status"].get("conditions")))
    code, whole = _run_doctor(plane.kubeconfig)
    assert code == 1
    [finding] = [item for item in whole["items"] if item["object"] == f"Pod {scene.namespace}/elsewhere"]
    assert (finding["id"], finding["name"], finding["severity"]) == ("A20", "hostname-pin-mismatch", "error")
    assert {"object": f"Node {node}", "place": f"metadata.labels[{HOST}]", "value": node} in finding["evidence"]
    assert whole["unread"] == {}
    # An account that can read pods alone.
    account = f"/api/v1/namespaces/{scene.namespace}/serviceaccounts"
    plane.ask("POST", account, {"metadata": {"name": "reader"}})
    name, group = scene.name("reader"), "/apis/rbac.authorization.k8s.io/v1"
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    plane.ask("POST", f"{group}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": scene.namespace}
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    plane.ask("POST", f"{group}/clusterrolebindings", binding)
    scene.made += [f"{group}/clusterroles/{name}", f"{group}/clusterrolebindings/{name}"]
    asked: dict[str, Any] = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = plane.ask("POST", f"{account}/reader/token", asked)["status"]["token"]
    text = plane.kubeconfig.read_text()
    limited = tmp_path / "kubeconfig"
    limited.write_text(text.replace(text.partition("token: ")[2].split()[0], token))
    _, part = _run_doctor(limited)
    assert "Node" in part["unread"]
    assert "Pod" not in part["unread"]
    assert {"A20", "D01", "H03"} <= {entry["id"] for entry in part["unjudged"]}
    assert "A20" not in {item["id"] for item in part["items"]}


def _run_doctor(kubeconfig: Path) -> tuple[int, Any]:
    argv = [sys.executable, "-m", "corral", "doctor", "--kubernetes", "--json"]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    ran = subprocess.run(argv, env=environment, cwd=kubeconfig.parent, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    return ran.returncode, json.loads(ran.stdout)
