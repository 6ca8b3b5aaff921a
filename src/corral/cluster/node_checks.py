"""Checks nodes: unique names, addresses and GPUs, and GPU models that the catalogue knows."""

from __future__ import annotations

from corral.cluster.document import Path
from corral.cluster.gpu_facts import FindGpu, GpuFacts
from corral.cluster.references import References, index_of
from corral.cluster.shape import NodeShape
from corral.errors import CorralError
from corral.units import format_bytes


def check_nodes(references: References, find_gpu: FindGpu | None) -> dict[Path, GpuFacts]:
    """Check all nodes; return the catalogue's answer for every GPU that names a model, by its path."""
    nodes = references.shape.nodes
    references.unique(((("nodes", i, "name"), node.name) for i, node in enumerate(nodes)), "a node")
    references.unique(
        ((("nodes", i, "address"), node.address) for i, node in enumerate(nodes)), "a node", what="address"
    )
    gpus = [(("nodes", i, "gpus", j), gpu) for i, node in enumerate(nodes) for j, gpu in enumerate(node.gpus or ())]
    references.unique((((*at, "uuid"), gpu.uuid) for at, gpu in gpus), "a GPU", what="UUID")
    for place, node in enumerate(nodes):
        _check_indexes(node, ("nodes", place, "gpus"), references)
    if find_gpu is None:
        return {}
    answers = {
        at: look_up(gpu.model, gpu.memory, (*at, "model"), references, find_gpu)
        for at, gpu in gpus
        if gpu.model is not None
    }
    return {at: facts for at, facts in answers.items() if facts is not None}


def _check_indexes(node: NodeShape, at: Path, references: References) -> None:
    seen: dict[int, int] = {}
    for place, gpu in enumerate(node.gpus or ()):
        index = index_of(gpu, place)
        if index in seen:
            references.document.report(
                "cluster.duplicate_name",
                f"GPU {index} of node {node.name!r} is also entry {seen[index]} of this list",
                at=(*at, place, "index"),
                hint="give each GPU its own `index`",
            )
        seen.setdefault(index, place)


def look_up(model: str, memory: int | None, at: Path, references: References, find_gpu: FindGpu) -> GpuFacts | None:
    """Ask the catalogue for a model; what it does not know, or knows several of, is reported at `at`."""
    try:
        found = find_gpu(model, memory=memory)
    except CorralError as error:
        references.document.report("cluster.unknown_reference", error.what, at=at, hint=error.hint)
        return None
    if not isinstance(found, tuple):
        return found
    candidates = ", ".join(f"`{one.name}` ({format_bytes(one.memory)})" for one in found[:6])
    references.document.report(
        "cluster.ambiguous_reference",
        f"{model!r} is the name of {len(found)} GPU models",
        at=at,
        hint=f"write one of {candidates}",
    )
    return None
