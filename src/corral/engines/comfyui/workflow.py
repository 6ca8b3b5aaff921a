"""A workflow in API format: node id to class and inputs, where an input is a value or a link `[node id, output]`.

Belongs here: reading and checking that shape. What fills it is in `filling`, which of its inputs a field
means is in `node_inputs`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from corral.errors import Problem
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json

PLACES = "places"
"""The entry of a workflow, next to its nodes, that names inputs; see `corral.engines.comfyui.places`."""
_MODEL_INPUTS = ("ckpt_name", "unet_name", "diffusion_model", "model_name")
"""Inputs of loader nodes that name the weights, the heaviest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInput:
    """One input of one node; written `6.text`."""

    node: str
    input: str

    def __str__(self) -> str:
        return f"{self.node}.{self.input}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node; `inputs` belongs to the workflow and can be changed by its owner."""

    id: str
    class_type: str
    inputs: dict[str, Json]

    def link(self, name: str) -> str | None:
        """Return the id of the node that an input is linked to, or None when it holds a value or is absent."""
        return find_linked_node(self.inputs.get(name))


Workflow = Mapping[str, Node]


def find_linked_node(value: Json) -> str | None:
    """Return the node id of a link, or None when `value` is not a link."""
    parts = as_list(value)
    if len(parts) != 2 or not isinstance(parts[0], str) or not isinstance(parts[1], int):
        return None
    return parts[0]


def is_editor_workflow(raw: Mapping[str, Json]) -> bool:
    """Whether a workflow is as ComfyUI's editor saves it; in API format, the keys are ids of nodes."""
    return isinstance(raw.get("nodes"), list)


def read_workflow(raw: Mapping[str, Json]) -> tuple[dict[str, Node], list[Problem]]:
    """Read a workflow into nodes of its own (the given one is not changed), with every problem of its shape."""
    if is_editor_workflow(raw):
        return {}, [_report_editor_format()]
    if not raw.keys() - {PLACES}:
        return {}, [_make_problem("the workflow has no nodes", "inputs.workflow")]
    nodes: dict[str, Node] = {}
    problems: list[Problem] = []
    for node_id, content in raw.items():
        if node_id == PLACES:
            continue
        node = as_object(content)
        class_type = as_text(node.get("class_type"))
        if not class_type or not isinstance(node.get("inputs", {}), dict):
            problems.append(
                _make_problem(f"node {node_id} has no class_type or no inputs", f"inputs.workflow.{node_id}")
            )
            continue
        nodes[node_id] = Node(id=node_id, class_type=class_type, inputs=dict(as_object(node.get("inputs"))))
    return nodes, problems or list(_find_dangling_links(nodes))


def list_models(nodes: Collection[Node]) -> tuple[str, ...]:
    """Return the model files that loader nodes name, the heaviest first."""
    names = [node.inputs[name] for name in _MODEL_INPUTS for node in nodes if name in node.inputs]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def find_model_name(model: str | None, inputs: Mapping[str, Json]) -> str | None:
    """Return what the task names, else the heaviest model that its workflow loads."""
    if model is not None:
        return model
    nodes, _ = read_workflow(as_object(inputs.get("workflow")))
    return next(iter(list_models(nodes.values())), None)


def write_prompt(workflow: Workflow, raw: Mapping[str, Json]) -> dict[str, Json]:
    """Write the workflow as the body of a prompt; whatever else `raw` has for a node (its title) is kept."""
    return {node.id: {**as_object(raw[node.id]), "inputs": node.inputs} for node in workflow.values()}


def _find_dangling_links(nodes: Workflow) -> Iterator[Problem]:
    for node in nodes.values():
        for name in node.inputs:
            target = node.link(name)
            if target is not None and target not in nodes:
                yield _make_problem(
                    f"node {node.id} ({node.class_type}) links to node {target}, which is not in the workflow",
                    f"inputs.workflow.{node.id}.inputs.{name}",
                )


def _report_editor_format() -> Problem:
    return Problem(
        code="comfyui.workflow_format",
        what="the workflow is in the editor's format, and an instance has to be asked what its nodes take",
        where="inputs.workflow",
        hint="convert it with `corral engines convert`, or save it in ComfyUI with Workflow > Export (API)",
    )


def _make_problem(what: str, where: str) -> Problem:
    hint = "save it in ComfyUI with Workflow > Export (API)"
    return Problem(code="comfyui.workflow_shape", what=what, where=where, hint=hint)
