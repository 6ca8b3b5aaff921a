"""Checks what the queue uses: engines, their instances, and the pools of slots."""

from __future__ import annotations

import re

from corral.cluster.document import Path
from corral.cluster.references import References
from corral.cluster.shape import EngineShape
from corral.engine_kinds import ENGINES

_GPU_SLOT = re.compile(r"gpu(\d{1,3})", re.ASCII)
_CPU_SLOT = re.compile(r"cpu\d{0,4}", re.ASCII)


def check_queues(references: References) -> None:
    """Check engines and queues."""
    shape = references.shape
    for name, engine in shape.engines.items():
        references.known_key(name, ENGINES, "engine", ("engines", name))
        if engine is not None:
            _check_engine(name, engine, ("engines", name, "instances"), references)
    references.unique(((("queues", i, "name"), queue.name) for i, queue in enumerate(shape.queues)), "a queue")
    for index, queue in enumerate(shape.queues):
        for place, selector in enumerate(queue.pool or ()):
            _check_selector(selector, ("queues", index, "pool", place), references)


def _check_engine(name: str, engine: EngineShape, at: Path, references: References) -> None:
    if engine.instances and name in ENGINES and not ENGINES[name].remote:
        references.conflict(
            f"the engine {name!r} runs on this machine and has no instances",
            at,
            f"remove `instances`; only {' and '.join(kind.name for kind in ENGINES.values() if kind.remote)} have them",
        )
    instances = engine.instances
    references.unique((((*at, i, "name"), one.name) for i, one in enumerate(instances)), "an instance")
    references.unique((((*at, i, "url"), one.url) for i, one in enumerate(instances)), "an instance", what="url")
    for place, instance in enumerate(instances):
        here = (*at, place)
        references.known(instance.node, references.nodes, "node", (*here, "node"))
        if instance.gpu is not None and instance.node is None and not references.is_written((*here, "node")):
            references.conflict("it says which GPU, but not of which node", (*here, "gpu"), "add `node`")
        if instance.gpu is not None:
            references.gpu_of(instance.node, instance.gpu, (*here, "gpu"))


def _check_selector(selector: str, at: Path, references: References) -> None:
    node, slash, slot = selector.partition("/")
    references.known(node, references.nodes, "node", at)
    if gpu := _GPU_SLOT.fullmatch(slot):
        references.gpu_of(node, int(gpu[1]), at)
    elif slash and not _CPU_SLOT.fullmatch(slot):
        references.document.report(
            "cluster.bad_value",
            f"not a slot: {selector[:80]!r}",
            at=at,
            hint="write a node for all of its slots, or `node/gpu0`, or `node/cpu`",
        )
