"""Small cluster files, rendered for Kubernetes: two nodes with a card each, and what a test names differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.operations.placing import find_places
from corral.rendering.targets import render_cluster
from doubles.kubernetes_schemas import objects_in

Json = dict[str, Any]  # parts of a cluster file, and Kubernetes objects
NODES = [
    {"name": "one", "address": "10.0.0.1", "gpus": [{"model": "RTX 4090"}]},
    {"name": "two", "address": "10.0.0.2", "gpus": [{"model": "RTX 4090"}]},
]


def cluster_text(**parts: Any) -> str:
    """A cluster file of two nodes with an RTX 4090 each, and these parts."""
    return yaml.safe_dump({"apiVersion": "corral/v1", "name": "yard", "nodes": NODES} | parts, sort_keys=False)


def rendered(*only: str, **parts: Any) -> Mapping[str, str]:
    """The files of some targets (`kubernetes` unless named) for such a cluster file."""
    text = cluster_text(**parts)
    cluster = load(text, filename="cluster.yaml", find_gpu=find_gpu)
    return render_cluster(
        cluster, source="cluster.yaml", text=text, only=only or ("kubernetes",), find_places=find_places
    ).files


def notes_on(**parts: Any) -> tuple[str, ...]:
    """The notes on such a cluster file with Kubernetes."""
    text = cluster_text(**{"kubernetes": {}, **parts})
    cluster = load(text, filename="cluster.yaml", find_gpu=find_gpu)
    return render_cluster(cluster, source="cluster.yaml", text=text, find_places=find_places).notes


def objects(kind: str, *only: str, **parts: Any) -> dict[str, Json]:
    """The objects of a kind by name, for such a cluster file."""
    files = rendered(*only, **parts)
    documents = [document for folder in ("kubernetes/", "kueue/") for _, document in objects_in(files, folder)]
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def pod_of(kind: str, name: str, **parts: Any) -> Json:
    """The pod that a workload makes."""
    return objects(kind, **parts)[name]["spec"]["template"]["spec"]
