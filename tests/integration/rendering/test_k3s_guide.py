"""The guide from a cluster file to K3s: its cluster file is rendered, and becomes the files and ports that it names."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.linting.runner import lint
from corral.linting.values import Source
from corral.rendering.targets import render_cluster
from doubles.kubernetes_schemas import NEWEST, objects_in, refusals

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "from-cluster-file-to-k3s.md").read_text(encoding="utf-8")
CLUSTER_FILE, ENGINES = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def rendered() -> dict[str, str]:
    cluster = load(CLUSTER_FILE, filename="home.yaml", find_gpu=find_gpu)
    return dict(render_cluster(cluster, source="home.yaml", text=CLUSTER_FILE).files)


def exposed_ports() -> set[int]:
    services = [item["spec"] for _, item in objects_in(rendered(), "kubernetes/") if item["kind"] == "Service"]
    return {port["port"] for spec in services if spec.get("type") == "LoadBalancer" for port in spec["ports"]}


def test_every_file_that_is_named_is_written() -> None:
    files = rendered() | {"kubernetes/helm/dra-driver-nvidia-gpu.yaml": "where pods ask by claim"}
    named = set(re.findall(r"\bhome/((?:kubernetes|k3s|nixos|systemd)/[\w./-]+)", GUIDE))
    assert len(named) >= 7
    assert [path for path in named if path not in files and f"{path}/kustomization.yaml" not in files] == []


def test_kubernetes_accepts_it_and_our_linter_says_what_is_shown() -> None:
    files = rendered()
    assert refusals(files, NEWEST) == []
    cluster = load(CLUSTER_FILE, filename="home.yaml", find_gpu=find_gpu)
    report = lint([Source(name=path, text=text) for path, text in files.items()], cluster=cluster)
    assert [f"{finding.place} {finding.rule.id} {finding.what}" for finding in report.findings] == []
    assert "0 errors, 0 warnings, 0 notes in" in GUIDE


def test_the_ports_of_the_firewall_are_those_that_are_exposed() -> None:
    opened = re.search(r"sudo ufw allow ([\d,]+)/tcp", GUIDE)
    assert opened is not None
    assert {int(port) for port in opened[1].split(",")} == exposed_ports()


def test_each_replica_has_the_address_that_the_queue_is_given() -> None:
    instances = yaml.safe_load(ENGINES)["engines"]["comfyui"]["instances"]
    assert [instance["url"] for instance in instances] == ["http://192.168.1.11:8188", "http://192.168.1.11:8189"]
    assert {8188, 8189} <= exposed_ports()
    load(CLUSTER_FILE + ENGINES, filename="home.yaml", find_gpu=find_gpu)


def test_the_secret_that_is_made_is_the_one_that_a_pod_reads() -> None:
    made = re.search(r"create secret generic (\w+) --namespace (\w+) --from-literal=(\w+)=", GUIDE)
    assert made is not None
    secret, namespace, key = made.groups()
    wanted = [
        (item["metadata"]["namespace"], variable["valueFrom"]["secretKeyRef"])
        for _, item in objects_in(rendered(), "kubernetes/")
        if item["kind"] in ("Deployment", "StatefulSet")
        for container in item["spec"]["template"]["spec"]["containers"]
        for variable in container.get("env", [])
        if "valueFrom" in variable
    ]
    assert wanted == [(namespace, {"name": secret, "key": key})]
