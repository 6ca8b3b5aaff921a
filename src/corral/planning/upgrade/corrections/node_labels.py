"""Beliefs about the labels of nodes."""

from __future__ import annotations

from corral.planning.upgrade.cards import cards_of
from corral.planning.upgrade.corrections.values import Belief, Correction, Situation


def key_given_twice(now: Situation) -> Correction | None:
    """Tell of the first node whose roles share one label key."""
    found = [
        (node, key, value)
        for node in now.after.nodes
        for key, value in node.labels.items()
        if len(node.roles) > 1 and value in node.roles
    ]
    if not found or not now.is_k3s:
        return None
    node, key, value = found[0]
    prefix = key.partition("/")[0]
    distinct = ", ".join(f"`workload.{prefix}/{role}=true`" for role in node.roles)
    return Correction(
        id="F01",
        belief="One label key given in several `--node-label` flags gives the node several values.",
        truth="A key has one value, and the last flag wins. Several roles need a key each, such as " + distinct + ".",
        here=f"{node.name} has the roles {', '.join(node.roles)}, and `{key}` can only say {value}",
        source="K3s, read in its source",
    )


def value_with_comma(now: Situation) -> Correction | None:
    """Tell of the first label with classes of cards on a node of several models."""
    found = [
        (node.name, key)
        for cluster in (now.before, now.after)
        for node in cluster.nodes
        for key in node.labels
        if key.endswith("/gpu-classes") and len({card.model for card in cards_of(node)}) > 1
    ]
    if not found:
        return None
    node, key = found[0]
    return Correction(
        id="label-comma",
        belief="A label can hold a list with commas.",
        truth="A label's value has letters, digits, `-`, `_` and `.` only, at most 63 of them; the API server refuses "
        "a comma. Join with a dash, or give each class a label of its own.",
        here=f"`{key}` of {node}, a node with several models",
        source="Kubernetes documentation, Labels and Selectors: syntax and character set",
    )


def _removals(now: Situation) -> list[str]:
    if not now.is_k3s:
        return []
    return [f"`{command}`" for one in now.labels for command in one.commands]


STALE_LABEL = Belief(
    id="F02",
    belief="Node labels are set when a node registers only; or: what leaves the agent's flags leaves the node.",
    truth="K3s sets every `--node-label` again at each start of the agent: added and changed labels land after a "
    "restart. A label whose flag is gone stays until it is removed by hand.",
    source="K3s, read in its source",
    separator="; ",
    where=_removals,
)
