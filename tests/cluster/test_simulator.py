"""Nodes of the simulator run pods as real processes, with Services, names, logs and volumes."""

from __future__ import annotations

from typing import Any

from control_plane.cluster import Cluster
from control_plane.simulator.images import Image

Json = Any
SHELL = Image(pattern="busybox", argv=["sh"])
WEB = Image(pattern="web", argv=["python3", "-m", "http.server", "8000"], folder="/srv/site")


def make_pod(name: str, script: str, **spec: Any) -> Json:
    """Make a pod that runs a shell script and ends."""
    container = {"name": "work", "image": "busybox", "command": ["sh", "-c", script]}
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }


def test_a_pod_reaches_another_by_the_name_of_a_service_until_it_has_no_endpoint(cluster: Cluster) -> None:
    cluster.add_image(SHELL)
    cluster.add_node("alpha")
    cluster.add_node("beta")
    serve = "mkdir -p /srv/site && cd /srv/site && echo from-$HOSTNAME >index.html && exec python3 -m http.server 8000"
    probe = {"httpGet": {"port": 8000}, "periodSeconds": 1}
    container = {"name": "web", "image": "busybox", "command": ["sh", "-c", serve], "readinessProbe": probe}
    cluster.create("pods", {"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"containers": [container]}})
    cluster.create(
        "services",
        {
            "metadata": {"name": "site"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
        },
    )
    cluster.wait_for_pods("app=web")
    ask = f"until curl -sS --max-time 2 http://site; do sleep 0.3; done; curl -sS http://site.{cluster.namespace}.svc.cluster.local"
    cluster.create("pods", make_pod("ask", ask))
    cluster.wait_for_phase("ask", "Succeeded")
    assert cluster.read_log("ask").splitlines()[-2:] == ["from-web", "from-web"]

    label = {"metadata": {"labels": {"app": "other"}}}
    cluster.plane.ask(
        "PATCH", f"/api/v1/namespaces/{cluster.namespace}/pods/web", label, "application/merge-patch+json"
    )
    cluster.create("pods", make_pod("ask-again", "while curl -sS --max-time 2 http://site; do sleep 0.3; done"))
    cluster.wait_for_phase("ask-again", "Succeeded")
    assert "curl: (" in cluster.read_log("ask-again")


def test_volumes_and_variables_come_from_the_objects_that_the_pod_names(cluster: Cluster) -> None:
    cluster.add_image(SHELL)
    node = cluster.add_node("alpha")
    (node.disk / "data").mkdir(parents=True)
    (node.disk / "data" / "model").write_text("weights\n")
    cluster.create("configmaps", {"metadata": {"name": "settings"}, "data": {"COLOUR": "blue", "app.ini": "x = 1\n"}})
    cluster.create("secrets", {"metadata": {"name": "keys"}, "stringData": {"token": "s3cret"}})
    volumes: Json = [
        {"name": "shared", "emptyDir": {}},
        {"name": "files", "configMap": {"name": "settings"}},
        {"name": "disk", "hostPath": {"path": "/data", "type": "Directory"}},
    ]
    first = {
        "name": "first",
        "image": "busybox",
        "command": ["sh", "-c", "echo filled by $(NAME) >/shared/note"],
        "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    }
    second = {
        "name": "second",
        "image": "busybox",
        "args": ["-c", "cat /in/note /etc/app/app.ini /models/model; echo $COLOUR $TOKEN; id -u; ls /models/absent"],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}],
        "volumeMounts": [
            {"name": "shared", "mountPath": "/in", "readOnly": True},
            {"name": "files", "mountPath": "/etc/app"},
            {"name": "disk", "mountPath": "/models"},
        ],
        "securityContext": {"runAsUser": 1234},
    }
    spec: Json = {"restartPolicy": "Never", "volumes": volumes, "initContainers": [first], "containers": [second]}
    cluster.create("pods", {"metadata": {"name": "reader"}, "spec": spec})
    pod = cluster.wait_for_phase("reader", "Failed")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 2
    lines = cluster.read_log("reader").splitlines()
    assert lines[:5] == ["filled by reader", "x = 1", "weights", "blue s3cret", "1234"]


def test_an_image_that_is_not_there_is_reported_as_the_kubelet_does(cluster: Cluster) -> None:
    cluster.add_node("alpha")
    pod = make_pod("lost", "true")
    pod["spec"]["containers"][0]["image"] = "registry.example/nothing:1"
    cluster.create("pods", pod)
    message = cluster.wait_for_event("lost", "Failed", "Failed to pull image")
    assert "registry.example/nothing:1: not found" in message
    cluster.wait_for_event("lost", "BackOff", 'Back-off pulling image "registry.example/nothing:1"')
    reason = cluster.read_pod("lost")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
    assert reason in ("ErrImagePull", "ImagePullBackOff")
