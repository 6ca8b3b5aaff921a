"""The conversion: what the outputs of a workflow need, with values from widgets and links followed to where they begin.

Nodes that no output needs are left out: ComfyUI does not run them, and many are decoration of the editor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from corral.engines.comfyui.editor.graph import BYPASSED, GET, MUTED, SET, EditorNode, Graph, Link, Slot, read_graph
from corral.engines.comfyui.editor.widgets import GROWING, Input, list_inputs, read_values
from corral.engines.comfyui.errors import WorkflowInvalidError
from corral.engines.comfyui.workflow import PLACES
from corral.engines.converting import Converted
from corral.errors import Problem
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json

_REROUTES = frozenset({"Reroute", "Reroute (rgthree)"})
"""Nodes of the editor that pass on their first input."""
_PRIMITIVE = "PrimitiveNode"
"""A node of the editor that holds a value for the inputs that it is linked to."""
_LONGEST_WAY = 500
"""Steps from an input to where its link begins; reroutes and subgraphs of real workflows make some ten."""
_DRAWN = re.compile(r"(?<!\\)\{[^{}]*\|[^{}]*\}|/\*|^\s*//", re.MULTILINE)
"""A choice or a comment in a text, which the page resolves when it queues."""
_REPLACED = re.compile(r"%date:[^%]*%|%[^%\s.]+\.[^%\s]+%")
"""A date or another node's value in a text, as above."""


@dataclass(frozen=True, slots=True)
class _Constant:
    """A value that a link leads to."""

    value: Json


@dataclass(frozen=True, slots=True)
class _Cut:
    """A link to what does not run."""

    reason: str


_Origin = Link | _Constant | _Cut | None
"""Where a link begins: an output of a node by its whole id, a value, nothing that runs, or no link at all."""


def convert(raw: Mapping[str, Json], described: Mapping[str, Json]) -> Converted:
    """Convert a workflow of the editor with the node types of an instance (`/object_info`).

    Raises: WorkflowInvalidError with every problem.
    """
    graph, problems = read_graph(raw)
    if problems:
        raise WorkflowInvalidError(problems)
    conversion = _Conversion(described)
    workflow = conversion.write(graph)
    if conversion.problems:
        raise WorkflowInvalidError(conversion.problems)
    # The editor keeps what it does not know under `extra`, and drops it elsewhere.
    places = raw.get(PLACES, as_object(raw.get("extra")).get(PLACES))
    workflow |= {} if places is None else {PLACES: places}
    return Converted(workflow=workflow, notes=tuple(conversion.notes))


@dataclass(slots=True)
class _Conversion:
    described: Mapping[str, Json]
    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[Problem] = field(default_factory=list[Problem])

    def write(self, graph: Graph) -> dict[str, Json]:
        """Write the nodes that outputs need, in the order of the file."""
        active = {node.id: node for node in graph.list_active() if node.mode not in (MUTED, BYPASSED)}
        ways = [node for node in active.values() if self._is_output(node)]
        if not ways:
            what = "the workflow has no node that saves or shows something"
            hint = "add one, such as SaveImage, or unmute it"
            self.problems.append(Problem(code="comfyui.no_outputs", what=what, where="nodes", hint=hint))
        written: dict[str, Json] = {}
        while ways:
            node = ways.pop()
            if node.id not in written:
                written[node.id] = content = self._write_node(node)
                links = (as_list(value) for value in content["inputs"].values())
                ways += [active[link[0]] for link in links if link]
        return {node_id: written[node_id] for node_id in active if node_id in written}

    def _is_output(self, node: EditorNode) -> bool:
        """Whether something is kept of a node; one of an unknown type that only takes something probably is."""
        description = as_object(self.described.get(node.type))
        if description:
            return description.get("output_node") is True
        return not _is_of_editor(node) and not node.output_types and any(slot.link for slot in node.inputs)

    def _write_node(self, node: EditorNode) -> dict[str, Json]:
        description = as_object(self.described.get(node.type))
        if not description:
            self._report_missing_type(node)
        inputs = list_inputs(description)
        widgets, misfits = read_values(node, inputs)
        values = {name: _find_promoted(node, name, otherwise=value) for name, value in widgets.items()}
        cut: dict[str, str] = {}
        links: dict[str, Json] = {}
        for index, slot in enumerate(node.inputs):
            origin = _trace(node, index)
            if origin is None:
                continue
            links.pop(slot.name, None)
            values.pop(slot.name, None)
            match origin:
                case Link():
                    values[slot.name] = links[slot.name] = [origin.origin, origin.origin_slot]
                case _Constant():
                    values[slot.name] = origin.value
                case _Cut():
                    cut[slot.name] = origin.reason
        if description:
            kept = (name for name, value in widgets.items() if values.get(name) is value)
            self.problems += [misfits[name] for name in kept if name in misfits]
            self.problems += _find_missing_inputs(node, inputs, values, cut)
        values = {name: value if name in links else _wrap(value) for name, value in values.items()}
        self.notes += _find_notes(node, values)
        title = node.title or as_text(description.get("display_name")) or node.type
        return {"inputs": values, "class_type": node.type, "_meta": {"title": title}}

    def _report_missing_type(self, node: EditorNode) -> None:
        what = f"the instance has no node type {node.type!r}"
        hint = "install the custom node that brings it, or change the workflow"
        self.problems.append(Problem(code="comfyui.missing_node_type", what=what, where=node.place, hint=hint))


def _wrap(value: Json) -> Json:
    """Mark a list as a value: ComfyUI takes a plain one for a link."""
    return {"__value__": as_list(value)} if isinstance(value, list) else value


def _is_of_editor(node: EditorNode) -> bool:
    return node.type in (*_REROUTES, _PRIMITIVE, SET, GET)


# --- where a link begins --------------------------------------------------------------------------------------------


def _trace(node: EditorNode, index: int) -> _Origin:
    """Follow an input's link through reroutes, bypassed nodes and subgraphs."""
    wanted, seen = node.inputs[index].type, set[tuple[str, int]]()
    while True:
        link = node.graph.links.get(node.inputs[index].link or "")
        if (node.id, index) in seen or len(seen) > _LONGEST_WAY:
            return _Cut(f"is linked in a circle through node {node.id}, or over more than {_LONGEST_WAY} steps")
        seen.add((node.id, index))
        if link is None:
            return _find_own_value(node, index) if node.inside is not None else None
        step = _follow(node.graph, link, wanted)
        if not isinstance(step, tuple):
            return step
        node, index = step


def _follow(graph: Graph, link: Link, wanted: str) -> tuple[EditorNode, int] | _Origin:
    """Return the output that a link begins at, or the input whose link goes on."""
    while True:
        host = graph.host
        if host is not None and link.origin == graph.input_id:
            names = graph.input_names
            index = host.find_input(names[link.origin_slot]) if link.origin_slot < len(names) else None
            return None if index is None else (host, index)
        node = graph.nodes.get(link.origin)
        if node is None:
            return None
        if node.mode == MUTED:
            return _Cut(f"is linked to node {node.id} ({node.type}), which is muted")
        if node.mode == BYPASSED:
            index = _choose_bypass(node, link.origin_slot, wanted)
            return None if index is None else (node, index)
        if node.inside is None:
            return _pass_on(node, link)
        inner = node.inside.outputs.get(link.origin_slot)
        if inner is None:
            return None
        graph, link = node.inside, inner


def _pass_on(node: EditorNode, link: Link) -> tuple[EditorNode, int] | _Origin:
    """Return what a node that runs, or one of the editor, gives out."""
    if node.type == _PRIMITIVE:
        values = as_list(node.values)
        return _Constant(_find_promoted(node, "value", otherwise=values[0])) if values else None
    if node.type in _REROUTES:
        return (node, 0) if node.inputs else None
    if node.type == GET:
        setter = node.graph.setters.get(repr(as_list(node.values)[:1]))
        return (setter, 0) if setter is not None and setter.inputs else None
    if node.type == SET:
        return (node, 0) if node.inputs else None
    return Link(origin=node.id, origin_slot=link.origin_slot, target=link.target, target_slot=link.target_slot)


def _choose_bypass(node: EditorNode, slot: int, wanted: str) -> int | None:
    """Choose the input of a bypassed node that takes the place of an output: the same position if types allow it."""
    types = [entry.type for entry in node.inputs]
    given = node.output_types[slot] if slot < len(node.output_types) else "*"
    if wanted == "*":
        return (slot if slot < len(types) else 0) if types else None
    if slot < len(types) and _match(types[slot], given) and _match(types[slot], wanted):
        return slot
    if wanted in types:
        return types.index(wanted)
    return next((index for index, kind in enumerate(types) if _match(kind, given) and _match(kind, wanted)), None)


def _match(one_type: str, other_type: str) -> bool:
    """Whether two slots can be linked; a type can be a list such as `INT,FLOAT`."""
    if "*" in (one_type, other_type):
        return True
    return bool({*one_type.lower().split(",")} & {*other_type.lower().split(",")})


# --- values that subgraphs show on their outside --------------------------------------------------------------------


def _find_promoted(node: EditorNode, widget: str, *, otherwise: Json) -> Json:
    """Return the value that a widget has on the outside of the subgraphs that its node is in."""
    host = node.graph.host
    position = None if host is None else _find_position(host, node.local_id, widget)
    if host is None or position is None:
        return otherwise
    value = _get_value(host, position)
    return _find_promoted(host, widget, otherwise=otherwise if value is None else value)


def _find_own_value(host: EditorNode, index: int) -> _Constant | None:
    """Return the value that a subgraph's node has for an input without a link; None where its inside decides."""
    name = host.inputs[index].name
    value = host.named.get(name)
    if value is None:
        value = _get_value(host, _find_own_position(host, name))
    value = _find_promoted(host, name, otherwise=value)
    return None if value is None else _Constant(value)


def _find_own_position(host: EditorNode, name: str) -> int | None:
    if not host.promoted:
        shown = [
            slot.name for slot in host.inputs if any(inner.has_widget for _, inner in _list_inner(host, slot.name))
        ]
        return shown.index(name) if name in shown else None
    inner = ((node.local_id, slot.name) for node, slot in _list_inner(host, name))
    positions = (_find_position(host, target, widget) for target, widget in (("-1", name), *inner))
    return next((position for position in positions if position is not None), None)


def _find_position(host: EditorNode, target: str, widget: str) -> int | None:
    return host.promoted.index((target, widget)) if (target, widget) in host.promoted else None


def _get_value(host: EditorNode, position: int | None) -> Json:
    values = as_list(host.values)
    return values[position] if position is not None and position < len(values) else None


def _list_inner(host: EditorNode, name: str) -> Iterator[tuple[EditorNode, Slot]]:
    """List the inputs inside of a subgraph that one of its own leads to."""
    inside = host.inside
    if inside is None or name not in inside.input_names:
        return
    yield from inside.inner.get(inside.input_names.index(name), ())


# --- what cannot be converted ---------------------------------------------------------------------------------------


def _find_missing_inputs(
    node: EditorNode, inputs: Sequence[Input], values: Mapping[str, Json], cut: Mapping[str, str]
) -> Iterator[Problem]:
    for entry in inputs:
        if not entry.required or entry.name in values or entry.type == GROWING:
            continue
        reason = cut.get(entry.name, "is not linked")
        yield Problem(
            code="comfyui.missing_input",
            what=f"the input {entry.name!r} ({entry.type}) {reason}",
            where=node.place,
            hint="link it in ComfyUI and save the workflow again",
        )


def _find_notes(node: EditorNode, values: Mapping[str, Json]) -> Iterator[Problem]:
    for name, value in values.items():
        if not isinstance(value, str) or not (match := _DRAWN.search(value) or _REPLACED.search(value)):
            continue
        yield Problem(
            code="comfyui.left_as_written",
            what=f"{match[0][:60]!r} is left as it is; the editor's page resolves it when it queues",
            where=f"{node.place} input {name!r}",
            hint="write the text that you mean, or draw it with the batch file's `wildcards`",
        )
