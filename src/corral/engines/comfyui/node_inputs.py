"""Where in a workflow a prompt, a seed, a size, a LoRA or a number of steps goes that the workflow has no place for.

The rules, in the order they are applied:

1. A *sampler* is a node whose class begins with `KSampler` or `SamplerCustom`, or that has the inputs `positive`,
   `negative` and `latent_image`. Everything is found by following the links of samplers upstream.
2. `prompt` and `negative`: from the sampler's `positive` or `negative` (or its `guider`, there also `conditioning` for
   the prompt) through nodes that only pass conditioning on, to the first node with a text input. All its text inputs
   (`text`, `text_g`, `text_l`, `clip_l`, `t5xxl`, `prompt`) are set. A node that the prompt reaches too is never the
   negative's (Flux workflows zero the prompt to get their negative).
3. `seed`: `seed` or `noise_seed` of the sampler, or of the node that its `noise` comes from.
4. `steps`: `steps` of the sampler, or of the node that its `sigmas` come from.
5. `width` and `height`: those of the first node upstream of `latent_image` that has both. `batch`: its `batch_size`.
6. `cfg`: `cfg` of the sampler, or of its `guider`. `sampler`: `sampler_name` of the sampler, or of the node that its
   `sampler` comes from. `scheduler`: as `steps`.
7. `lora` and `lora_strength`: `lora_name`, and `strength_model` with `strength_clip`, of every LoRA loader upstream of
   the sampler's `model`.
8. An input that is itself linked leads to the linked node's value (`value`, `string`, `text`, `int`, `float`, `seed`).
9. Several inputs that hold the same value now (base and refiner with one seed) are set together. Several inputs that
   differ are ambiguous, and none is an error as well: the workflow then names a place (`places`), or the task names the
   input with `set`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from corral.engines.comfyui.workflow import Node, NodeInput, Workflow
from corral.errors import Problem
from corral.work import Json

Field = Literal[
    "prompt",
    "negative",
    "seed",
    "steps",
    "width",
    "height",
    "batch",
    "cfg",
    "sampler",
    "scheduler",
    "lora",
    "lora_strength",
]

_TEXT_INPUTS = ("text", "text_g", "text_l", "clip_l", "t5xxl", "prompt")
_VALUE_INPUTS = ("value", "string", "text", "int", "float", "seed")
_LATENT_INPUTS = ("latent_image", "samples", "latent")
_MODEL_INPUTS = ("model", "guider")


def find_inputs(workflow: Workflow, field: Field) -> tuple[tuple[NodeInput, ...], Problem | None]:
    """Find every input that `field` sets, or the problem why there is none, or which of several is unclear."""
    groups = list(dict.fromkeys(_list_groups(workflow, field)))
    if not groups:
        return (), _report_no_input(field)
    states = {_state(workflow, group) for group in groups}
    if len(states) > 1:
        return (), _report_ambiguity(workflow, field, [node_input for group in groups for node_input in group])
    return tuple(dict.fromkeys(node_input for group in groups for node_input in group)), None


def _list_groups(workflow: Workflow, field: Field) -> Iterator[tuple[NodeInput, ...]]:
    """Yield, per sampler, the inputs that belong together (the two texts of one SDXL node)."""
    for sampler in _find_samplers(workflow):
        for node in _find_owners(workflow, sampler, field):
            literals = [_find_literal(workflow, node, name) for name in _list_input_names(field) if name in node.inputs]
            group = tuple(node_input for node_input in literals if node_input is not None)
            if group:
                yield group


def _find_samplers(workflow: Workflow) -> list[Node]:
    named = ("KSampler", "SamplerCustom")
    # KSamplerSelect only names an algorithm; it samples nothing.
    return [
        node
        for node in workflow.values()
        if (node.class_type.startswith(named) and node.class_type != "KSamplerSelect")
        or {"positive", "negative", "latent_image"} <= node.inputs.keys()
    ]


def _list_input_names(field: Field) -> tuple[str, ...]:
    match field:
        case "prompt" | "negative":
            return _TEXT_INPUTS
        case "seed":
            return ("seed", "noise_seed")
        case "batch":
            return ("batch_size",)
        case "sampler":
            return ("sampler_name",)
        case "lora":
            return ("lora_name",)
        case "lora_strength":
            return ("strength_model", "strength_clip")
        case "steps" | "width" | "height" | "cfg" | "scheduler":
            return (field,)


def _find_owners(workflow: Workflow, sampler: Node, field: Field) -> list[Node]:
    """Find the nodes upstream of `sampler` that own the inputs of `field`; a switch of ways can lead to several."""
    match field:
        case "prompt":
            return _find_text_nodes(workflow, sampler, "positive")
        case "negative":
            shared = {
                node.id for other in _find_samplers(workflow) for node in _find_text_nodes(workflow, other, "positive")
            }
            return [node for node in _find_text_nodes(workflow, sampler, "negative") if node.id not in shared]
        case "seed":
            return _find_first(workflow, sampler, ("noise",), lambda node: _has_any(node, ("seed", "noise_seed")))
        case "steps" | "scheduler":
            return _find_first(workflow, sampler, ("sigmas",), lambda node: field in node.inputs)
        case "cfg":
            return _find_first(workflow, sampler, ("guider",), lambda node: "cfg" in node.inputs)
        case "sampler":
            return _find_first(workflow, sampler, ("sampler",), lambda node: "sampler_name" in node.inputs)
        case "batch":
            return _find_first(workflow, sampler, _LATENT_INPUTS, lambda node: "batch_size" in node.inputs)
        case "lora" | "lora_strength":
            return [node for node in _follow(workflow, sampler, _MODEL_INPUTS) if "lora_name" in node.inputs]
        case "width" | "height":
            return _find_first(
                workflow, sampler, _LATENT_INPUTS, lambda node: {"width", "height"} <= node.inputs.keys()
            )


def _find_text_nodes(workflow: Workflow, sampler: Node, role: Literal["positive", "negative"]) -> list[Node]:
    def upstream(node: Node) -> Sequence[str]:
        if role in node.inputs:
            return (role,)
        passing = ("guider",) if node is sampler else tuple(n for n in node.inputs if n.startswith("conditioning"))
        # A guider without a negative (BasicGuider) has one conditioning, and it is the prompt's.
        return () if role == "negative" and node.class_type == "BasicGuider" else passing

    return _walk(workflow, sampler, upstream, lambda node: node is not sampler and _has_any(node, _TEXT_INPUTS))


def _find_first(workflow: Workflow, start: Node, names: Sequence[str], wanted: Callable[[Node], bool]) -> list[Node]:
    return _walk(workflow, start, lambda _: names, wanted)


def _follow(workflow: Workflow, start: Node, names: Sequence[str]) -> list[Node]:
    """List every node upstream of `start` through inputs of these names."""
    nodes: dict[str, Node] = {}

    def note(node: Node) -> bool:
        nodes[node.id] = node
        return False

    _find_first(workflow, start, names, note)
    return list(nodes.values())


def _walk(
    workflow: Workflow, start: Node, upstream: Callable[[Node], Sequence[str]], wanted: Callable[[Node], bool]
) -> list[Node]:
    nodes: dict[str, Node] = {}
    seen: set[str] = set()
    ways = [start]
    while ways:
        node = ways.pop()
        if node.id in seen:
            continue
        seen.add(node.id)
        if wanted(node):
            nodes[node.id] = node
            continue
        ways += [workflow[target] for name in upstream(node) if (target := node.link(name)) is not None]
    return list(nodes.values())


def _find_literal(workflow: Workflow, node: Node, name: str) -> NodeInput | None:
    """Follow a linked input to the value it comes from; None where no node upstream holds one."""
    seen: set[str] = set()
    while (target := node.link(name)) is not None:
        if target in seen:
            return None
        seen.add(target)
        node = workflow[target]
        name = next((value for value in _VALUE_INPUTS if value in node.inputs), "")
        if not name:
            return None
    return NodeInput(node=node.id, input=name)


def _has_any(node: Node, names: Sequence[str]) -> bool:
    return any(name in node.inputs for name in names)


def _state(workflow: Workflow, group: Sequence[NodeInput]) -> tuple[str, ...]:
    return tuple(repr(_read_value(workflow, node_input)) for node_input in group)


def _read_value(workflow: Workflow, node_input: NodeInput) -> Json:
    return workflow[node_input.node].inputs[node_input.input]


def _report_no_input(field: Field) -> Problem:
    return Problem(
        code="comfyui.no_input",
        what=f"the workflow has no input for {field!r} that follows from its samplers",
        where=f"inputs.{field}",
        hint=f'name it in the workflow: "places": {{"{field}": "<node id>.<input>"}}, or set it: '
        'set: {"<node id>.<input>": ...}',
    )


def _report_ambiguity(workflow: Workflow, field: Field, inputs: Sequence[NodeInput]) -> Problem:
    listed = ", ".join(
        f"{node_input} ({workflow[node_input.node].class_type}, now {str(_read_value(workflow, node_input))[:40]!r})"
        for node_input in dict.fromkeys(inputs)
    )
    return Problem(
        code="comfyui.ambiguous_input",
        what=f"{field!r} could go to several inputs of the workflow: {listed}",
        where=f"inputs.{field}",
        hint=f'name the one you mean in the workflow: "places": {{"{field}": "{inputs[0]}"}}, or set it: '
        f'set: {{"{inputs[0]}": ...}}',
    )
