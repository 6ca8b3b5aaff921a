"""Language models that are routed to cards that cannot hold them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from corral.cluster.values import Cluster, Node
from corral.hardware.fit.names import need_of
from corral.linting.registry import Found, checks
from corral.linting.scene import Scene
from corral.linting.tree import Tree
from corral.linting.values import Rule, Severity
from corral.units import format_bytes

_OLLAMA = re.compile(r"^ollama(?:_chat)?/(?P<model>.+)$")
_PULL = re.compile(r"\bollama\s+(?:pull|run)\s+(?P<model>[\w./:-]+)")


@checks(
    Rule(
        id="B08",
        name="model-larger-than-card",
        severity=Severity.ERROR,
        summary="a language model that its machine's cards cannot hold",
        practice="Ollama moves the layers that do not fit to the processor, and answers ten times slower or more.",
        source="computed: parameters x bits of the quantization that Ollama pulls; `corral fit MODEL` shows the parts",
        fix="Choose a smaller quantization or model (`corral fit MODEL` lists what fits), or route it elsewhere.",
    )
)
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


def _models(scene: Scene, cluster: Cluster) -> Iterator[tuple[Tree, str, Node | None]]:
    """Each model with the node that its address leads to; None when the files do not say."""
    for spot in scene.under("model_list"):
        for entry in spot.tree.entries:
            parameters = entry["litellm_params"]
            match = _OLLAMA.match(parameters["model"].raw or "")
            if match:
                host = urlsplit(parameters["api_base"].raw or "").hostname
                yield parameters["model"], match["model"], _node_behind(cluster, host)
    for one in scene.containers:
        for word in (*one.tree["command"].entries, *one.tree["args"].entries):
            for match in _PULL.finditer(word.raw or ""):
                yield word, match["model"], None


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
