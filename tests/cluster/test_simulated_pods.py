"""Pods on simulated nodes live and end as with a kubelet: restarts, hooks, volumes, names, addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from control_plane.cluster import Cluster
from control_plane.simulator.images import Image
from control_plane.stand_ins import make_comfyui, make_ollama, make_server

Json = Any
SHELL = Image(pattern="busybox", argv=["sh"])


def make_container(script: str, **more: Any) -> Json:
    """Make a container that runs a shell script."""
    return {"name": "work", "image": "busybox", "command": ["sh", "-c", script], **more}


def test_pre_stop_is_called_before_the_signal_and_within_the_grace_period(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_image(SHELL)
    cluster.add_node("alpha")
    cluster.export_folder("10.0.0.9:/out", tmp_path)
    script = "trap 'echo signal >>/out/log; exit 0' TERM; echo started >>/out/log; while :; do sleep 0.1; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >>/out/log"]}}}
    container = make_container(script, lifecycle=hook, volumeMounts=[{"name": "out", "mountPath": "/out"}])
    volume = {"name": "out", "nfs": {"server": "10.0.0.9", "path": "/out"}}
    cluster.create("pods", {"metadata": {"name": "polite"}, "spec": {"containers": [container], "volumes": [volume]}})
    cluster.wait_for(lambda: (tmp_path / "log").exists(), "the start")
    cluster.plane.ask("DELETE", f"/api/v1/namespaces/{cluster.namespace}/pods/polite")
    cluster.wait_for(lambda: not cluster.list_pods(), "the end of the pod")
    assert (tmp_path / "log").read_text().split() == ["started", "hook", "signal"]


def test_a_container_that_ends_is_restarted_and_its_end_is_kept(cluster: Cluster) -> None:
    cluster.add_image(SHELL)
    cluster.add_node("alpha")
    cluster.create("pods", {"metadata": {"name": "crash"}, "spec": {"containers": [make_container("echo no; exit 7")]}})
    cluster.create("pods", {"metadata": {"name": "large"}, "spec": {"containers": [make_container("sleep 600")]}})
    cluster.wait_for_event("crash", "BackOff", "Back-off restarting failed container work in pod crash_")

    def look() -> Json:
        status = cluster.read_pod("crash")["status"]["containerStatuses"][0]
        return status if status["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" else None

    assert cluster.wait_for(look, "CrashLoopBackOff")["lastState"]["terminated"]["exitCode"] == 7
    cluster.wait_for_phase("large", "Running")
    cluster.kill_container("large", reason="OOMKilled")

    def look_again() -> Json:
        return cluster.read_pod("large")["status"]["containerStatuses"][0]["lastState"].get("terminated")

    ended = cluster.wait_for(look_again, "the end of the first run")
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_replicas_of_a_stateful_set_have_names_and_folders_of_their_own(cluster: Cluster) -> None:
    cluster.add_image(SHELL)
    node = cluster.add_node("alpha")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    cluster.create("persistentvolumeclaims", {"metadata": {"name": "out"}, "spec": claim})
    script = "echo $POD >/out/name; exec python3 -m http.server --directory /out 8000"
    container = make_container(
        script,
        env=[{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        volumeMounts=[{"name": "out", "mountPath": "/out", "subPathExpr": "outputs/$(POD)"}],
        readinessProbe={"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    )
    pod = {"containers": [container], "volumes": [{"name": "out", "persistentVolumeClaim": {"claimName": "out"}}]}
    labels = {"app": "drawn"}
    spec: Json = {
        "replicas": 2,
        "serviceName": "drawn",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    cluster.create("statefulsets", {"metadata": {"name": "drawn"}, "spec": spec}, "/apis/apps/v1")
    headless = {"clusterIP": "None", "selector": labels, "ports": [{"port": 8000}]}
    cluster.create("services", {"metadata": {"name": "drawn"}, "spec": headless})
    cluster.wait_for_pods("app=drawn", 2)
    ask = "for i in 0 1; do until curl -sSf http://drawn-$i.drawn:8000/name; do sleep 0.3; done; done"
    asking: Json = {"restartPolicy": "Never", "containers": [make_container(ask)]}
    cluster.create("pods", {"metadata": {"name": "ask"}, "spec": asking})
    cluster.wait_for_phase("ask", "Succeeded")
    assert [line for line in cluster.read_log("ask").splitlines() if "curl" not in line] == ["drawn-0", "drawn-1"]
    (folder,) = (node.disk / "var/lib/rancher/k3s/storage").iterdir()
    assert sorted(path.name for path in (folder / "outputs").iterdir()) == ["drawn-0", "drawn-1"]


def test_this_machine_reaches_node_ports_and_load_balancers(cluster: Cluster) -> None:
    cluster.add_image(make_server("answers", 4000))
    node = cluster.add_node("alpha")
    container = {"name": "web", "image": "answers", "readinessProbe": {"httpGet": {"port": 4000}, "periodSeconds": 1}}
    cluster.create("pods", {"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"containers": [container]}})
    spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 4000}]}
    service = cluster.create("services", {"metadata": {"name": "web"}, "spec": spec})
    port = service["spec"]["ports"][0]["nodePort"]
    for url in (f"http://{node.address}:{port}/a", f"http://{node.address}/a"):
        assert '"pod": "web"' in cluster.wait_for_page(url)


def test_stand_ins_answer_by_the_names_of_their_services(cluster: Cluster) -> None:
    cluster.add_image(make_ollama())
    cluster.add_image(make_comfyui())
    cluster.add_node("alpha")
    mounts = [{"name": "models", "mountPath": "/root/.ollama"}]
    pull = "ollama serve & until ollama list >/dev/null 2>&1; do sleep 0.2; done; ollama pull llama3"
    image = "ollama/ollama:0.17.4"
    first = {"name": "pull", "image": image, "command": ["sh", "-c", pull], "volumeMounts": mounts}
    host = [{"name": "OLLAMA_HOST", "value": "0.0.0.0:11434"}]
    ollama = {"name": "ollama", "image": image, "env": host, "volumeMounts": mounts}
    comfyui = {"name": "comfyui", "image": "yanwk/comfyui-boot:cu128-slim", "args": ["--any", "words"]}
    volumes: Json = [{"name": "models", "emptyDir": {}}]
    spec: Json = {
        "initContainers": [first],
        "containers": [ollama, comfyui],
        "volumes": volumes,
    }
    pod = cluster.create("pods", {"metadata": {"name": "engines"}, "spec": spec})
    address = cluster.wait_for_phase(pod["metadata"]["name"], "Running")["status"]["podIP"]
    assert "llama3:latest" in cluster.wait_for_page(f"http://{address}:11434/api/tags")
    assert "comfyui_version" in cluster.wait_for_page(f"http://{address}:8188/system_stats")
    asked = Request(f"http://{address}:11434/api/generate", b'{"model": "llama3", "prompt": "one two"}')
    with urlopen(asked, timeout=60) as reply:
        assert b'"done": true' in reply.read()
