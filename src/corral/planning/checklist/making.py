"""Puts the checklist of an upgrade together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corral.cluster.values import Cluster, Node
from corral.planning.checklist.documentation import documentation_items
from corral.planning.checklist.hardware import hardware_items
from corral.planning.checklist.nodes import NodeChange, changed_nodes, gone_nodes
from corral.planning.checklist.outlook import NOTHING_KNOWN, Outlook
from corral.planning.checklist.shells import drain, kubectl
from corral.planning.checklist.software import software_items
from corral.planning.checklist.values import Checklist, Command, Item, Phase, Question
from corral.planning.checklist.workload import workload_items
from corral.planning.rendered import labelled


def checklist_of(before: Cluster, after: Cluster, outlook: Outlook = NOTHING_KNOWN) -> Checklist:
    """List what it takes to make `after` of `before`; only what this upgrade needs, and nothing when they are equal."""
    before, after = labelled(before, outlook.before), labelled(after, outlook.after)
    changes = changed_nodes(before, after)
    items = [item for change in changes for item in hardware_items(change, after)]
    items += [item for node in gone_nodes(before, after) for item in _gone(node, after)]
    items += [item for change in changes for item in software_items(change, before, after, outlook)]
    items += workload_items(changes, before, after, outlook)
    if items:
        items += documentation_items(changes, before, after)
    items.sort(key=lambda item: list(Phase).index(item.phase))  # stable: a node that goes has items of two phases
    return Checklist(cluster=after.name, items=tuple(items), addresses=_addresses(changes))


def _addresses(changes: Sequence[NodeChange]) -> tuple[tuple[str, str | None], ...]:
    return tuple((change.name, change.after.address) for change in changes)


def _gone(node: Node, after: Cluster) -> Iterator[Item]:
    """List what a machine that leaves needs."""
    yield Item(
        id=f"hardware.{node.name}.gone",
        phase=Phase.HARDWARE,
        node=node.name,
        title=f"{node.name}: empty it before it leaves",
        why="volumes on its disks and pods that are pinned to it go with it (E01)",
        work=Question(text=f"is what lies on the disks of {node.name} elsewhere, and does nothing run on it?"),
    )
    if after.kubernetes is not None:
        yield Item(
            id=f"hardware.{node.name}.drain",
            phase=Phase.HARDWARE,
            node=node.name,
            title=f"{node.name}: let its pods go",
            why="they end in order and start elsewhere, where they may run elsewhere",
            work=Command(line=drain(node.name)),
        )
        yield Item(
            id=f"software.{node.name}.delete",
            phase=Phase.SOFTWARE,
            node=node.name,
            title=f"{node.name}: take it out of Kubernetes",
            why="a node that is gone stays in the list as NotReady, and its pods with it",
            work=Command(line=kubectl("delete", "node", node.name)),
        )
