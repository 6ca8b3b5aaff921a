"""The checklist of an upgrade: all phases put together, its documentation phase, and its Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corral.cluster.values import Cluster, Node
from corral.planning.checklist.commands import drain, write_kubectl
from corral.planning.checklist.hardware import list_hardware_items
from corral.planning.checklist.nodes import NodeChange, list_changed_nodes, list_gone_nodes
from corral.planning.checklist.software import list_old_words, list_software_items
from corral.planning.checklist.values import NOTHING_KNOWN, Checklist, Command, Item, ItemKind, Outlook, Phase, Question
from corral.planning.checklist.workload import list_workload_items
from corral.planning.labels import label_cluster


def make_checklist(before: Cluster, after: Cluster, outlook: Outlook = NOTHING_KNOWN) -> Checklist:
    """List what it takes to make `after` of `before`; only what this upgrade needs, and nothing when they are equal."""
    before, after = label_cluster(before), label_cluster(after)
    changes = list_changed_nodes(before, after)
    items = [item for change in changes for item in list_hardware_items(change, after)]
    items += [item for node in list_gone_nodes(before, after) for item in _list_items_of_gone(node, after)]
    items += [item for change in changes for item in list_software_items(change, before, after, outlook)]
    items += list_workload_items(changes, before, after, outlook)
    if items:
        items += list_documentation_items(changes, before, after)
    items.sort(key=lambda item: list(Phase).index(item.phase))  # stable: a node that goes has items of two phases
    return Checklist(cluster=after.name, items=tuple(items), addresses=_list_addresses(changes))


def _list_addresses(changes: Sequence[NodeChange]) -> tuple[tuple[str, str | None], ...]:
    return tuple((change.name, change.after.address) for change in changes)


def _list_items_of_gone(node: Node, after: Cluster) -> Iterator[Item]:
    """List what a machine that leaves needs."""
    yield Item(
        id=f"hardware.{node.name}.gone",
        phase=Phase.HARDWARE,
        node=node.name,
        title=f"{node.name}: empty it before it leaves",
        why="volumes on its disks and pods that are pinned to it go with it (E01)",
        work=Question(text=f"is the data on the disks of {node.name} stored elsewhere, and is nothing running on it?"),
    )
    if after.kubernetes is not None:
        yield Item(
            id=f"hardware.{node.name}.drain",
            phase=Phase.HARDWARE,
            node=node.name,
            title=f"{node.name}: let its pods go",
            why="they end in order, and start on another node if they can run there",
            work=Command(line=drain(node.name)),
        )
        yield Item(
            id=f"software.{node.name}.delete",
            phase=Phase.SOFTWARE,
            node=node.name,
            title=f"{node.name}: take it out of Kubernetes",
            why="a node that is gone stays in the list as NotReady, and its pods with it",
            work=Command(line=write_kubectl("delete", "node", node.name)),
        )


def list_documentation_items(changes: Sequence[NodeChange], before: Cluster, after: Cluster) -> Iterator[Item]:
    """List what has to be written down, in order."""
    yield _make_item(
        "cluster-file",
        title="the new cluster file is the one in use, under version control",
        why="the next plan, forecast and upgrade start from it",
        text="is the new cluster file committed, in the place of the old one?",
    )
    for change in changes:
        words = list_old_words(change, before, after)
        if words:
            yield _make_item(
                f"notes.{change.name}",
                node=change.name,
                title=f"{change.name}: notes and runbooks say what the machine is now",
                why="the next person believes what is written",
                text=f"do your documents (cluster, architecture, agents' notes) no longer name {', '.join(words)}?",
            )
    yield _make_item(
        "report",
        title="the upgrade report and this checklist's report are archived",
        why="when something fails in a month, today's evidence shows what was different",
        text="are both kept next to the cluster file?",
    )


def _make_item(what: str, *, title: str, why: str, text: str, node: str | None = None) -> Item:
    return Item(
        id=f"documentation.{what}",
        phase=Phase.DOCUMENTATION,
        node=node,
        title=title,
        why=why,
        work=Question(text=text),
    )


def write_checklist(checklist: Checklist, *, level: int = 2) -> str:
    """Write all items under a heading for each phase; `level` is that of the headings."""
    if not checklist.items:
        return "Nothing has to be done: the two cluster files describe the same machines and services.\n"
    parts = [
        "\n".join([f"{'#' * level} {phase.value.capitalize()} phase", "", *_write_lines(checklist.of(phase))])
        for phase in checklist.phases
    ]
    return "\n\n".join(parts) + "\n"


def _write_lines(items: tuple[Item, ...]) -> Iterator[str]:
    for item in items:
        yield f"- [ ] **{item.title}** ({item.kind.value}): {_write_task(item)}. Why: {item.why}."
        if item.material:
            yield from ["", "  ```text", *(f"  {line}".rstrip() for line in item.material.splitlines()), "  ```", ""]


def _write_task(item: Item) -> str:
    return f"`{item.task}`" if item.kind is ItemKind.COMMANDED else item.task.rstrip(".")
