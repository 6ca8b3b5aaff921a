"""The graph of an editor's file: nodes with their slots, links, and the graphs inside of subgraph nodes.

A subgraph is defined once and used by any number of nodes; here each use has a graph of its own, whose nodes have the
ids that ComfyUI gives them: `10:3` is node 3 inside of node 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from corral.errors import Problem
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json

MUTED, BYPASSED = 2, 4
"""Modes of a node (`LGraphEventMode`): it does not run, or its inputs take the place of its outputs."""
MAX_NODES, MAX_SLOTS = 5000, 1000
"""Nodes of a workflow with those of its subgraphs, since definitions that use one another can stand for any number; and
inputs of a node. Large workflows have some hundred nodes."""
SET, GET = "SetNode", "GetNode"
"""Nodes of the editor (KJNodes) that are linked by the name that both have as their first value."""
MAX_DEPTH = 100
"""Subgraphs inside of one another: far above any workflow, far below the recursion of the functions that read them."""
_GROUPS = ("workflow>", "workflow/")
"""Begin the type of a group node, which subgraphs replaced in 2025."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """An input of a node as the file has it."""

    name: str
    type: str
    link: str | None
    has_widget: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link, from an output of a node."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(slots=True, kw_only=True)
class EditorNode:
    """One node; that of a subgraph has the graph `inside` of it."""

    id: str
    """As ComfyUI has it: `10:3`."""
    local_id: str
    type: str
    title: str
    mode: int
    inputs: tuple[Slot, ...]
    output_types: tuple[str, ...]
    values: Json
    """Values of its widgets: a list in the order of the widgets, or by name."""
    named: Mapping[str, Json]
    """The same by name, in files of newer versions."""
    promoted: tuple[tuple[str, str], ...]
    """Of a subgraph: the node inside (`-1` is this one) and the widget, for each of its `values`."""
    graph: Graph
    inside: Graph | None = None

    @property
    def place(self) -> str:
        """The node, for messages."""
        return f"node {self.id} ({self.type})"

    def find_input(self, name: str) -> int | None:
        """Return the position of an input."""
        return next((index for index, slot in enumerate(self.inputs) if slot.name == name), None)


@dataclass(slots=True, kw_only=True)
class Graph:
    """The workflow itself, or the inside of a subgraph node, its `host`."""

    host: EditorNode | None
    nodes: dict[str, EditorNode] = field(default_factory=dict[str, EditorNode])
    links: dict[str, Link] = field(default_factory=dict[str, Link])
    input_id: str = ""
    output_id: str = ""
    """Ids that stand for the subgraph's own inputs and outputs as origin and target of links."""
    input_names: tuple[str, ...] = ()
    outputs: dict[int, Link] = field(default_factory=dict[int, Link])
    """The link that leads to each output of this subgraph."""
    inner: dict[int, list[tuple[EditorNode, Slot]]] = field(default_factory=dict[int, "list[tuple[EditorNode, Slot]]"])
    """The inputs of nodes that each input of this subgraph leads to."""
    setters: dict[str, EditorNode] = field(default_factory=dict[str, "EditorNode"])
    """Nodes that keep a link under a name, by that name."""

    def list_active(self) -> Iterator[EditorNode]:
        """Yield every node, with those inside of subgraphs that run, in the order of the file."""
        for node in self.nodes.values():
            if node.inside is None:
                yield node
            elif node.mode not in (MUTED, BYPASSED):
                yield from node.inside.list_active()

    def make_index(self) -> None:
        """Note what is looked up when links are followed; to be called once everything is read."""
        for link in self.links.values():
            if link.target == self.output_id:
                self.outputs.setdefault(link.target_slot, link)
        for node in self.nodes.values():
            if node.type == SET:
                self.setters.setdefault(repr(as_list(node.values)[:1]), node)
            for slot in node.inputs:
                link = self.links.get(slot.link or "")
                if link is not None and link.origin == self.input_id:
                    self.inner.setdefault(link.origin_slot, []).append((node, slot))


def read_graph(raw: Mapping[str, Json]) -> tuple[Graph, list[Problem]]:
    """Read the file of the editor, with every problem of its shape."""
    reader = _Reader(raw)
    graph = Graph(host=None)
    reader.fill(graph, raw, ())
    return graph, reader.problems


class _Reader:
    def __init__(self, raw: Mapping[str, Json]) -> None:
        listed = as_list(as_object(raw.get("definitions")).get("subgraphs"))
        self._definitions = {as_text(as_object(content).get("id")): as_object(content) for content in listed}
        self._room = MAX_NODES
        self.problems: list[Problem] = []

    def fill(self, graph: Graph, raw: Mapping[str, Json], within: tuple[str, ...]) -> None:
        """Read nodes and links into the graph; `within` has the subgraphs that it is inside of."""
        graph.links = {key: link for content in as_list(raw.get("links")) for key, link in _read_link(content)}
        graph.input_id = _read_id(as_object(raw.get("inputNode")).get("id", -10)) or ""
        graph.output_id = _read_id(as_object(raw.get("outputNode")).get("id", -20)) or ""
        graph.input_names = tuple(as_text(as_object(slot).get("name")) for slot in as_list(raw.get("inputs")))
        for content in as_list(raw.get("nodes")):
            node = _read_node(as_object(content), graph)
            if node is None:
                self._report("a node has no id or no type", "nodes")
            elif node.local_id in graph.nodes:
                self._report(f"two nodes have the id {node.id}", node.place)
            else:
                graph.nodes[node.local_id] = node
                self._enter(node, within)
        graph.make_index()

    def _enter(self, node: EditorNode, within: tuple[str, ...]) -> None:
        self._room -= 1
        if self._room == 0:
            self._report(f"the workflow has more than {MAX_NODES} nodes with those of its subgraphs", node.place)
        definition = self._definitions.get(node.type)
        if len(node.inputs) > MAX_SLOTS or len(as_list((definition or {}).get("inputs"))) > MAX_SLOTS:
            self._report(f"the node has more than {MAX_SLOTS} inputs", node.place)
        if node.type.startswith(_GROUPS):
            what = "it is a group node, an older form of subgraphs that only the editor can take apart"
            hint = "right-click it in ComfyUI, convert it to nodes and save the workflow again"
            self.problems.append(Problem(code="comfyui.group_node", what=what, where=node.place, hint=hint))
        if definition is None or self._room <= 0:
            return
        if node.type in within:
            self._report("the subgraph is inside of itself", node.place)
            return
        if len(within) >= MAX_DEPTH:
            what = f"subgraphs are inside of one another more than {MAX_DEPTH} times"
            self._report(what, f"subgraph {node.type[:80]}")
            return
        saved = {slot.name: slot for slot in node.inputs}
        declared = [_read_slot(as_object(slot)) for slot in as_list(definition.get("inputs"))]
        node.inputs = tuple(saved.get(slot.name, replace(slot, link=None)) for slot in declared)
        node.inside = Graph(host=node)
        self.fill(node.inside, definition, (*within, node.type))

    def _report(self, what: str, where: str) -> None:
        hint = "open the workflow in ComfyUI and save it again"
        self.problems.append(Problem(code="comfyui.workflow_shape", what=what, where=where, hint=hint))


def _read_node(raw: Mapping[str, Json], graph: Graph) -> EditorNode | None:
    local_id, kind = _read_id(raw.get("id")), as_text(raw.get("type"))
    if local_id is None or not kind:
        return None
    properties = as_object(raw.get("properties"))
    return EditorNode(
        id=local_id if graph.host is None else f"{graph.host.id}:{local_id}",
        local_id=local_id,
        type=kind,
        title=as_text(raw.get("title")),
        mode=mode if isinstance(mode := raw.get("mode"), int) else 0,
        inputs=tuple(_read_slot(as_object(slot)) for slot in as_list(raw.get("inputs"))),
        output_types=tuple(_read_type(as_object(slot)) for slot in as_list(raw.get("outputs"))),
        values=raw.get("widgets_values"),
        named=as_object(raw.get("widgets_values_named")),
        promoted=tuple(_read_promoted(properties.get("proxyWidgets"))),
        graph=graph,
    )


def _read_promoted(raw: Json) -> Iterator[tuple[str, str]]:
    for entry in as_list(raw):
        pair = as_list(entry)
        if len(pair) >= 2:
            yield _read_id(pair[0]) or "", as_text(pair[1])


def _read_slot(raw: Mapping[str, Json]) -> Slot:
    widget = as_object(raw.get("widget"))
    # A slot can have been given another name in the editor; that of its widget is the input's.
    name = as_text(widget.get("name")) or as_text(raw.get("name"))
    return Slot(name=name, type=_read_type(raw), link=_read_id(raw.get("link")), has_widget=bool(widget))


def _read_type(slot: Mapping[str, Json]) -> str:
    """Read a slot's type; 0 and the empty text stand for any, as `*` does."""
    kind = slot.get("type")
    return kind if isinstance(kind, str) and kind else "*"


def _read_link(raw: Json) -> Iterator[tuple[str, Link]]:
    """Read a link: a list in the workflow of version 0.4, an object in subgraphs and in version 1."""
    named = as_object(raw)
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    parts = [named.get(key) for key in keys] if named else as_list(raw)[:5]
    if len(parts) == 5:
        key, origin, origin_slot, target, target_slot = (_read_id(part) for part in parts)
        if key and origin and origin_slot and target and target_slot and origin_slot.isdigit():
            slot = int(target_slot) if target_slot.isdigit() else -1
            yield key, Link(origin=origin, origin_slot=int(origin_slot), target=target, target_slot=slot)


def _read_id(value: Json) -> str | None:
    """Read an id, a number or a text; None where there is none."""
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) and value != "" else None
