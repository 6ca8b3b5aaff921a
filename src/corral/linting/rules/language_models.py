"""Language models that are routed to cards that cannot hold them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import urlsplit

from corral.cluster.values import Cluster, Node
from corral.hardware.fit.names import need_of, shape_of_name
from corral.linting.corpus import Scene
from corral.linting.objects import Pod
from corral.linting.registry import Found, checks
from corral.linting.rules.gpu_selection import HOSTNAME
from corral.linting.tree import Tree
from corral.units import UnitError, format_bytes, parse_bytes

_OLLAMA = re.compile(r"^ollama(?:_chat)?/(?P<model>.+)$")
_PULL = re.compile(r"\bollama\s+(?:pull|run)\s+(?P<model>[\w./:-]+)")


@checks("B08")
def too_large(scene: Scene) -> Iterator[Found]:
    """Look for routes of LiteLLM and pulls of containers, where the cluster file says what the cards have."""
    if scene.cluster is None:
        return
    for tree, model, node in _models(scene, scene.cluster):
        need = need_of("ollama", model)
        has = _memory(node) if node else max((_memory(one) or 0 for one in scene.cluster.nodes), default=0)
        if need is None or not has:
            continue
        size = need.on(1)
        if size > has:
            where = f"the cards of {node.name} have" if node else "the largest machine's cards have"
            what = f"{model} needs about {format_bytes(size)}, and {where} {format_bytes(has)}"
            yield Found(place=tree.place, what=what)


@checks("B09")
def overcommitted(scene: Scene) -> Iterator[Found]:
    """Look for nodes of the cluster file with shared cards whose pods are known to need more than all of them have."""
    memory = {node.name: _memory(node) for node in (scene.cluster.nodes if scene.cluster else ())}
    needed: dict[str, int] = defaultdict(int)
    for pod in scene.deployed if scene.shares_gpus else ():
        node = pod.spec["nodeSelector"][HOSTNAME].raw or ""
        need = _needed(pod) * pod.owner.replicas
        before, needed[node] = needed[node], needed[node] + need
        if need and memory.get(node) and before <= memory[node] < needed[node]:
            what = (
                f"pods on {node} need about {format_bytes(needed[node])}, its cards have {format_bytes(memory[node])}"
            )
            yield Found(place=pod.spec["nodeSelector"][HOSTNAME].place, what=what, subject=pod.owner)


def _needed(pod: Pod) -> int:
    """VRAM of the largest model that a pod pulls, or what its annotation says; 0 when neither is known."""
    said = pod.template["metadata"]["annotations"]["gpu-memory"].count
    if said is not None:
        return said * 2**20
    needs = [need_of("ollama", model) for _, model in _pulled(pod)]
    return max((need.on(1) for need in needs if need), default=0)


@checks("E09")
def small_claim(scene: Scene) -> Iterator[Found]:
    """Look for Ollama's claims that do not hold what its pods pull."""
    for pod in scene.pods:
        pulled = dict.fromkeys(model for _, model in _pulled(pod))
        shapes = [shape_of_name(model) for model in pulled]
        total = sum(shape.weights for shape in shapes if shape)
        for volume in pod.spec["volumes"].entries if total else ():
            name = volume["persistentVolumeClaim"]["claimName"]
            claim = scene.named("PersistentVolumeClaim", pod.owner.namespace, name.raw)
            asked = claim.tree.at("spec", "resources", "requests", "storage") if claim else None
            size = _size(asked.raw) if asked else 0
            if asked is not None and 0 < size < total and _is_ollamas(pod, volume["name"].raw):
                what = f"{format_bytes(size)} for models of about {format_bytes(total)} ({', '.join(pulled)})"
                yield Found(place=asked.place, what=what, subject=claim)


def _is_ollamas(pod: Pod, volume: str | None) -> bool:
    """Tell whether a volume is mounted where Ollama keeps its models."""
    return any(
        mount["name"].raw == volume and ".ollama" in (mount["mountPath"].raw or "")
        for one in pod.containers
        for mount in one.tree["volumeMounts"].entries
    )


def _size(raw: str | None) -> int:
    try:
        return parse_bytes(raw) if raw else 0
    except UnitError:
        return 0


def _pulled(pod: Pod) -> Iterator[tuple[Tree, str]]:
    """Every `ollama pull` of a pod's commands and hooks, with the model."""
    for one in pod.containers:
        hook = one.tree["lifecycle"]["postStart"]["exec"]["command"]
        for word in (*one.tree["command"].entries, *one.tree["args"].entries, *hook.entries):
            for match in _PULL.finditer(word.script or ""):
                yield word, match["model"]


def _models(scene: Scene, cluster: Cluster) -> Iterator[tuple[Tree, str, Node | None]]:
    """Each model with the node that its address leads to; None when the files do not say."""
    for spot in scene.under("model_list"):
        for entry in spot.tree.entries:
            parameters = entry["litellm_params"]
            match = _OLLAMA.match(parameters["model"].raw or "")
            if match:
                host = _host(parameters["api_base"].raw or "")
                yield parameters["model"], match["model"], _node_behind(cluster, host)
    for pod in scene.pods:
        for word, model in _pulled(pod):
            yield word, model, _node_of(cluster, pod)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # a bracket that is never closed
        return None


def _node_of(cluster: Cluster, pod: Pod) -> Node | None:
    """The node that a pod is pinned to by its host name."""
    name = pod.spec["nodeSelector"][HOSTNAME].raw
    return next((node for node in cluster.nodes if node.name == name), None)


def _node_behind(cluster: Cluster, host: str | None) -> Node | None:
    """The node on which a layout deploys the service of this name, or that has this address."""
    name = (host or "").split(".")[0]
    nodes = {node.name: node for node in cluster.nodes}
    for layout in cluster.layouts.values():
        for service, placement in layout.services.items():
            if name and name in (placement.name, service) and placement.node:
                return nodes.get(placement.node)
    return next((node for node in cluster.nodes if host and node.address == host), None)


def _memory(node: Node) -> int:
    """VRAM of all cards of a node: Ollama spreads a model over them; 0 when one is unknown."""
    sizes = [gpu.memory for gpu in node.gpus or ()]
    return 0 if None in sizes else sum(size or 0 for size in sizes)
