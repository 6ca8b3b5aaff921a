"""`corral verify` on a real API server: a healthy installation is all right, and each way to break it is found."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.accounts import lend_account
from control_plane.cluster import AddedNode, Cluster
from control_plane.machines import RTX_3090, RTX_4090
from control_plane.simulator.images import Image
from control_plane.stand_ins import make_ollama, make_prometheus, make_server, write_targets
from corral.deploying.order import JOB
from corral.kubernetes.api import Api, open_api
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import apply_layout, observe_target
from corral.operations.deploying.verdict import Verdict, verify_layout
from corral.operations.deploying.verifying import look_at_layout
from corral.verifying.values import Mark, Subject, conclude

Json = dict[str, Any]
_HOST = "kubernetes.io/hostname"
_MERGE = "application/strategic-merge-patch+json"


@dataclass(frozen=True, kw_only=True)
class Place:
    """An installation on two nodes: Ollama on the first, and on the second a backend that calls it."""

    cluster: Cluster
    api: Api
    nodes: tuple[AddedNode, AddedNode]
    share: Path
    file: FileText

    async def verify(self, file: FileText | None = None) -> Verdict:
        return await verify_layout(self.api, file or self.file, None)

    async def find(self, subject: Subject, words: str, file: FileText | None = None) -> None:
        """Check that a check of this subject is bad, with these words, evidence and a fix."""
        verdict = await self.verify(file)
        assert verdict.mark is Mark.BAD, list(map(str, verdict.checks))
        bad = [check for check in verdict.checks if check.mark is Mark.BAD and check.subject is subject]
        assert any(words in f"{check.name}: {check.what}" for check in bad), list(map(str, verdict.checks))
        assert all(check.fix for check in bad)

    def patch(self, kind: str, name: str, change: Json, group: str = "/apis/apps/v1") -> None:
        path = f"{group}/namespaces/{self.cluster.namespace}/{kind}/{name}"
        self.cluster.plane.ask("PATCH", path, change, _MERGE)

    def patch_pods(self, kind: str, name: str, spec: Json) -> None:
        self.patch(kind, name, {"spec": {"template": {"spec": spec}}})


def write_file(cluster: Cluster, nodes: tuple[AddedNode, AddedNode], **engines: Any) -> FileText:
    first, second = (node.name for node in nodes)
    ollama: Json = {"name": "ollama", "engines": ["ollama"], "gpus": 1, "models": ["llama3.2:1b", "llama3.2:3b"]}
    backend: Json = {"name": "backend", "image": "backend:1", "port": 8000, "healthPath": "/health"}
    value: Json = {
        "apiVersion": "corral/v1",
        "name": cluster.name,
        "kubernetes": {"namespace": cluster.namespace, "gpuMode": "devicePlugin"},
        "nodes": [
            {"name": first, "gpus": [{"model": "RTX 4090"}]},
            {"name": second, "gpus": [{"model": "RTX 3090"}]},
        ],
        "storage": [
            {"name": "models", "kind": "ephemeral", "size": "1Gi"},
            {"name": f"share-{cluster.name}", "kind": "nfs", "server": "10.0.0.9", "path": "/srv/share"},
        ],
        "services": [
            ollama | {"storage": ["models"], "node": first},
            backend | {"calls": ["ollama"], "storage": [f"share-{cluster.name}"], "node": second},
        ],
        "engines": {"ollama": engines},
    }
    return FileText(text=yaml.safe_dump(value))


@pytest.fixture
async def place(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Place]:
    """A healthy installation that a Prometheus watches."""
    cluster.add_image(make_ollama())
    cluster.add_image(make_server("backend:*", 8000))
    cluster.add_image(make_prometheus())
    nodes = (cluster.add_node("alpha", gpus=[RTX_4090]), cluster.add_node("beta", gpus=[RTX_3090]))
    share = tmp_path / "share"
    share.mkdir()
    cluster.export_folder("10.0.0.9:/srv/share", share)
    write_targets(nodes[0].disk, [node.name for node in nodes])
    volume = {"name": "data", "hostPath": {"path": "/prometheus"}}
    container = {
        "name": "prometheus",
        "image": "prom/prometheus:v3.7.3",
        "volumeMounts": [{"name": "data", "mountPath": "/prometheus"}],
        "readinessProbe": {"httpGet": {"port": 9090, "path": "/-/ready"}, "periodSeconds": 1},
    }
    pod: Json = {"nodeName": nodes[0].name, "containers": [container], "volumes": [volume]}
    cluster.create("pods", {"metadata": {"name": "prometheus", "labels": {"app": "prometheus"}}, "spec": pod})
    file = write_file(cluster, nodes)
    async with open_api(kubeconfig=cluster.plane.kubeconfig) as api:
        await apply_layout(api, await observe_target(api, file, None))
        for labels in ("app.kubernetes.io/name=ollama", "app.kubernetes.io/name=backend", "app=prometheus"):
            cluster.wait_for_pods(labels)
        yield Place(cluster=cluster, api=api, nodes=nodes, share=share, file=file)
    for name in (f"share-{cluster.name}",):
        cluster.plane.ask("DELETE", f"/api/v1/persistentvolumes/{name}")


async def test_healthy_installation_is_all_right_and_each_of_eight_faults_is_found(place: Place) -> None:
    verdict = await place.verify()
    assert [(str(check), check.evidence) for check in verdict.checks if check.mark is not Mark.OK] == []
    assert verdict.mark is Mark.OK
    assert {check.subject for check in verdict.checks} == set(Subject)
    assert verdict.created == ()
    assert list(place.share.iterdir()) == []
    texts = {check.name: check.what for check in verdict.checks}
    assert texts["models of ollama"] == "llama3.2:1b and llama3.2:3b pulled"
    assert texts["backend -> ollama"].startswith("200 in ")
    cluster, (alpha, beta) = place.cluster, place.nodes

    write_targets(alpha.disk, [alpha.name, beta.name], down=beta.name)
    await place.find(Subject.TARGETS, f"dcgm-exporter on {beta.name} is down: connection refused")

    remove = ("ollama", "rm", "llama3.2:3b")
    assert (await place.api.run_inside(cluster.namespace, "ollama-0", "ollama", remove)).exit_code == 0
    await place.find(Subject.MODELS, "not pulled: llama3.2:3b")

    gone = {"name": "gone", "url": f"http://gone.{cluster.namespace}:11434"}
    file = write_file(cluster, place.nodes, instances=[gone])
    await place.find(Subject.ENGINES, "engine ollama, instance gone", file)

    place.patch("services", "ollama", {"spec": {"selector": {"app": "other"}}}, "/api/v1")
    await place.find(Subject.ENDPOINTS, "others have changed its selector")

    backend = {"name": "backend", "env": [{"name": "OLLAMA_URL", "value": "http://old-name:11434"}]}
    place.patch_pods("deployments", "backend", {"containers": [backend], "nodeSelector": {_HOST: alpha.name}})
    cluster.wait_for(
        lambda: [
            pod
            for pod in cluster.wait_for_pods("app.kubernetes.io/name=backend")
            if pod["spec"]["nodeName"] == alpha.name
        ],
        "the backend on the other node",
    )
    await place.find(Subject.PODS, f"is on {alpha.name}, and the layout says {beta.name}")
    await place.find(Subject.CALLS, "OLLAMA_URL leads to http://old-name:11434/")

    container = {"name": "ollama", "resources": {"limits": {"nvidia.com/gpu": None}}}
    place.patch_pods("statefulsets", "ollama", {"containers": [container]})
    own = f"/api/v1/namespaces/{cluster.namespace}/pods/ollama-0"
    cluster.plane.ask("DELETE", own, {"gracePeriodSeconds": 0})
    cluster.wait_for(
        lambda: [
            pod
            for pod in cluster.wait_for_pods("app.kubernetes.io/name=ollama")
            if not pod["spec"]["containers"][0].get("resources", {}).get("limits")
        ],
        "Ollama without a GPU",
    )
    await place.find(Subject.GPUS, "ollama-0 has 0 of 1")

    shutil.rmtree(place.share)
    await place.find(Subject.EXPORTS, "cannot be written")


async def test_a_service_that_answers_a_moment_late_is_all_right(place: Place) -> None:
    """Nodes learn of a Service a moment after it is made; here it is made when the first answer is there."""
    name, cluster = "late", place.cluster
    file = write_file(
        cluster, place.nodes, instances=[{"name": name, "url": f"http://{name}.{cluster.namespace}:8000"}]
    )

    def make_service(step: str) -> None:
        nonlocal name
        if step.startswith("asked") and name:
            spec: Json = {"selector": {"app.kubernetes.io/name": "backend"}, "ports": [{"port": 8000}]}
            cluster.create("services", {"metadata": {"name": name}, "spec": spec})
            name = ""

    verdict = await verify_layout(place.api, file, None, report=make_service)
    assert [check.what for check in verdict.checks if check.name == "engine ollama, instance late"] != []
    assert [(str(check), check.evidence) for check in verdict.checks if check.mark is not Mark.OK] == []


async def test_command_has_a_verdict_a_line_for_each_check_and_an_exit_code_with_the_role_of_the_guide(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "cluster.yaml").write_text(place.file.text)
    with lend_account(place.cluster, "corral-verify", tmp_path / "kubeconfig"):
        code, text = await _run(tmp_path)
        assert code == 0, text
        lines = text.splitlines()
        assert lines[0] == f"layout all: {len(lines) - 1} ok"
        assert f"ok       ollama on {place.nodes[0].name}: 1 of 1 ready" in lines
        place.cluster.lose_node(place.nodes[1])
        target = await observe_target(place.api, place.file, None)
        while conclude(await look_at_layout(place.api, target.wanted)) is not Mark.BAD:  # noqa: ASYNC110 (nodes tell nobody)
            await asyncio.sleep(0.5)
        code, text = await _run(tmp_path, "--json")
    assert code == 1, text
    answer = json.loads(text)
    assert answer["mark"] == "bad"
    assert {check["subject"] for check in answer["checks"] if check["mark"] == "bad"} >= {"pods"}


async def _run(folder: Path, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", "verify", *words),
        cwd=folder,
        env={**os.environ, "KUBECONFIG": str(folder / "kubeconfig")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    text, errors = await process.communicate()
    return process.returncode or 0, text.decode() or errors.decode()


async def test_job_of_ours_asks_where_no_container_can_and_goes_again(place: Place) -> None:
    """The image of the backend has no programs at all, as images without a distribution have none."""
    place.cluster.add_image(
        Image(
            pattern="bare:*", argv=[sys.executable, "-c", _BARE], environment={"PATH": "/nothing"}, ignores_command=True
        )
    )
    place.patch_pods("deployments", "backend", {"containers": [{"name": "backend", "image": "bare:1"}]})
    place.cluster.wait_for(
        lambda: [
            pod
            for pod in place.cluster.wait_for_pods("app.kubernetes.io/name=backend")
            if pod["spec"]["containers"][0]["image"] == "bare:1"
        ],
        "the backend with an image that has nothing",
    )
    verdict = await place.verify()
    assert [(str(check), check.evidence) for check in verdict.checks if check.mark is not Mark.OK] == []
    assert verdict.mark is Mark.OK
    assert len(verdict.created) == 2
    (call,) = [check for check in verdict.checks if check.subject is Subject.CALLS]
    assert "image ollama/ollama:" in call.evidence[0] or "image prom/prometheus:" in call.evidence[0]
    jobs = await place.api.list(JOB, place.cluster.namespace)
    assert all(job["metadata"].get("deletionTimestamp") for job in jobs)


_BARE = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
"""
