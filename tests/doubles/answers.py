"""The answers of several commands to one cluster file, as the product gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from corral.operations.cluster_file import FileText
from corral.operations.planning import PlanAsked, Planned, plan_layouts
from corral.operations.rendering import RenderAnswer, RenderAsked, render_files


def make_text(nodes: list[dict[str, Any]], services: list[dict[str, Any]], **parts: Any) -> str:  # plain YAML
    """Write a cluster file of these nodes and services."""
    cluster = {"apiVersion": "corral/v1", "name": "yard", "nodes": nodes, "services": services} | parts
    return yaml.safe_dump(cluster, sort_keys=False)


def plan(text: str) -> Planned:
    return plan_layouts(PlanAsked(cluster=FileText(text=text)))


def render(text: str, *only: str) -> RenderAnswer:
    return render_files(RenderAsked(cluster=FileText(text=text), only=only))


def read_compose(files: Mapping[str, str]) -> dict[str, dict[str, Any]]:  # plain YAML
    """Read the containers of every machine, by machine."""
    return {
        path.rpartition("/")[2].removesuffix(".yaml"): yaml.safe_load(text)["services"]
        for path, text in files.items()
        if path.startswith("compose/") and path.count("/") == 2
    }


def read_pods(files: Mapping[str, str]) -> dict[str, dict[str, Any]]:  # plain YAML
    """Read the pods of every workload, by its name."""
    documents = (
        document
        for path, text in files.items()
        if path.startswith("kubernetes/overlays/")
        for document in yaml.safe_load_all(text)
        if document
    )
    return {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]
        for document in documents
        if document.get("kind") in ("Deployment", "StatefulSet")
    }
