"""Commands give one answer: what is planned is what is rendered, linted and added up.

Clusters are drawn with cards of all makers, cards that are shared, limits and images of either kind.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings

from corral.cluster.values import Cluster
from corral.hardware.makers import NVIDIA, find_maker
from corral.linting.runner import lint
from corral.linting.values import Severity, Source
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.planning import Planned
from corral.operations.powering import PowerAsked, work_out_power
from corral.planning.upgrade.choices import find_choice
from corral.rendering.kubernetes.contradictions import ContradictionError
from corral.rendering.makers import ACCESS
from doubles.answers import make_text, plan, read_compose, read_pods, render
from doubles.chances import MANY, draw_by_chance

CARDS = ("RTX 3060 12GB", "RTX 3090", "RTX 3090", "RTX 4090 48GB", "RX 7900 XTX", "Arc A770")
UNIFIED = ("DGX Spark", "Strix Halo", "Jetson Orin Nano 8GB")
IMAGES = ("example.org/app:1", "example.org/app:1-cuda", "example.org/app:1-rocm", "ollama/ollama:0.12.6", None)
MODELS = ("qwen3:8b", "qwen3:14b", "llama3.1:8b", "gemma3:27b", "llama3.3:70b")


def draw_cluster(chance: Random) -> str:
    nodes = [_draw_node(chance, f"n{index}") for index in range(chance.randint(1, 3))]
    services = [_draw_service(chance, f"s{index}") for index in range(chance.randint(1, 4))]
    mode = chance.choice(({}, {}, {"gpuMode": "devicePlugin"}, {"gpuMode": "dra"}))
    return make_text(nodes, services, kubernetes={"distribution": "k3s", "namespace": "ai"} | mode)


def _draw_node(chance: Random, name: str) -> dict[str, Any]:
    node: dict[str, Any] = {"name": name, "k3sRole": "server" if name == "n0" else "agent", "memory": "64Gi"}
    if chance.random() < 0.2:
        node["gpus"] = [{"model": chance.choice(UNIFIED)}]
    else:
        node["gpus"] = [_draw_card(chance) for _ in range(chance.choice((0, 1, 1, 2)))]
    if chance.random() < 0.5:
        node["psu"] = {"watts": chance.choice((550, 850, 1600))}
    return node


def _draw_card(chance: Random) -> dict[str, Any]:
    limit = {"powerLimit": 200} if chance.random() < 0.4 else {}
    return {"model": chance.choice(CARDS)} | limit


def _draw_service(chance: Random, name: str) -> dict[str, Any]:
    service: dict[str, Any] = {"name": name, "port": 8000 + int(name[1:])}
    kind = chance.choice(("plain", "declared", "declared", "ollama", "ollama"))
    if kind == "plain":
        return service | {"image": "example.org/app:1"}
    if kind == "declared":
        service["gpuMemory"] = chance.choice(("3Gi", "5Gi", "9Gi", "20Gi"))
        return service | {"image": chance.choice(IMAGES[:3])}
    service |= {"engines": ["ollama"], "models": [chance.choice(MODELS)]}
    image = chance.choice((None, "ollama/ollama:0.12.6", "ollama/ollama:0.12.6-rocm"))
    service |= {"image": image} if image else {}
    return service | chance.choice(({"gpus": 1}, {"gpuMemory": "10Gi"}))


@settings(MANY, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(draw_by_chance(draw_cluster))
def test_what_is_planned_is_what_is_rendered_linted_and_added_up(text: str) -> None:
    planned = plan(text)
    try:
        answer = render(text, "compose", "kubernetes", "kueue", "litellm")
    except ContradictionError:
        return
    containers = read_compose(answer.files)
    _check_containers(planned, containers)
    if not _is_undeployable(planned):
        _check_pods(planned, answer.files)
        _check_lint(planned, answer.files)
    _check_power(planned, text)


def _is_undeployable(planned: Planned) -> bool:
    return any("cannot be deployed" in caution.what for caution in planned.plans[0].cautions)


def _check_containers(planned: Planned, containers: dict[str, dict[str, Any]]) -> None:
    """Every replica with a GPU is on the planned machine with the planned cards; nothing else has any."""
    cluster = planned.file.cluster
    expected = {(replica.demand, replica.node): replica.gpus for replica in planned.plans[0].placed if replica.gpus}
    for machine, services in containers.items():
        for name, container in services.items():
            if name.endswith("-pull") or not _has_card(container):
                continue
            gpus = expected.pop((name, machine))
            makers = {find_maker(gpu) for gpu in _find_gpus(cluster, machine) if gpu.index in gpus}
            assert makers == {_find_container_maker(container)} or makers == {NVIDIA}
            if "deploy" in container:
                (device,) = container["deploy"]["resources"]["reservations"]["devices"]
                assert device["device_ids"] == [str(index) for index in gpus]
    assert expected == {}


def _has_card(container: dict[str, Any]) -> bool:
    return "deploy" in container or "devices" in container or "runtime" in container


def _find_container_maker(container: dict[str, Any]) -> str:
    devices = [device.partition(":")[0] for device in container.get("devices", ())]
    return next(
        (maker for maker, access in ACCESS.items() if access.devices and list(access.devices) == devices), NVIDIA
    )


def _find_gpus(cluster: Cluster, node: str) -> tuple[Any, ...]:
    return next(known.gpus or () for known in cluster.nodes if known.name == node)


def _check_pods(planned: Planned, files: dict[str, str]) -> None:
    """Pods ask for the resource of the makers whose cards the plan gives them, or for a claim."""
    pods = read_pods(dict(files))
    cluster = planned.file.cluster
    for replica in planned.plans[0].placed:
        if not replica.gpus or replica.node is None:
            continue
        pod = pods[replica.demand]
        service = cluster.services[replica.services[0]]
        if replica.memory is not None:  # a model that no GPU holds is placed with a caution, and fits none
            assert {f"{replica.node}/gpu{index}" for index in replica.gpus} <= set(find_choice(service, cluster).fits)
        (gpu,) = [gpu for gpu in _find_gpus(cluster, replica.node) if gpu.index in replica.gpus]
        (container,) = [part for part in pod["containers"] if part["name"] == replica.services[0]]
        if pod.get("resourceClaims"):
            assert find_maker(gpu) == NVIDIA
        else:
            (resource,) = container["resources"]["limits"]
            assert resource in ACCESS[find_maker(gpu) or NVIDIA].resources
        assert (pod.get("runtimeClassName") == "nvidia") <= (find_maker(gpu) == NVIDIA)


def _check_lint(planned: Planned, files: dict[str, str]) -> None:
    """Our own linter has no error where everything has its place."""
    if planned.plans[0].missing:
        return
    sources = [
        Source(name=path, text=text) for path, text in files.items() if path.startswith(("kubernetes/", "kueue/"))
    ]
    report = lint(sources, cluster=planned.file.cluster)
    errors = [finding for finding in report.findings if finding.weight is Severity.ERROR]
    assert errors == []


def _check_power(planned: Planned, text: str) -> None:
    """The plan and `power` have the same watts, with limits and without."""
    nodes = {node.node: node for node in work_out_power(PowerAsked(cluster=FileText(text=text))).nodes}
    for power in planned.power:
        assert power == nodes[power.node]
    for node in check_cluster(FileText(text=text)).cluster.nodes:
        limited = nodes[node.name].limited
        assert (limited is not None) == any(gpu.power_limit_w for gpu in node.gpus or ())
