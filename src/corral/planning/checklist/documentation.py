"""The documentation phase: what people and the next upgrade will read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corral.cluster.values import Cluster
from corral.planning.checklist.nodes import NodeChange
from corral.planning.checklist.references import old_words
from corral.planning.checklist.values import Item, Phase, Question


def documentation_items(changes: Sequence[NodeChange], before: Cluster, after: Cluster) -> Iterator[Item]:
    """List what has to be written down, in order."""
    yield _item(
        "cluster-file",
        title="the new cluster file is the one in use, under version control",
        why="the next plan, forecast and upgrade start from it",
        text="is the new cluster file committed, in the place of the old one?",
    )
    for change in changes:
        words = old_words(change, before, after)
        if words:
            yield _item(
                f"notes.{change.name}",
                node=change.name,
                title=f"{change.name}: notes and runbooks say what the machine is now",
                why="the next person believes what is written",
                text=f"do your documents (cluster, architecture, agents' notes) no longer name {', '.join(words)}?",
            )
    yield _item(
        "report",
        title="the upgrade report and this checklist's report are archived",
        why="when something fails in a month, the evidence of today tells what was different",
        text="are both kept beside the cluster file?",
    )


def _item(what: str, *, title: str, why: str, text: str, node: str | None = None) -> Item:
    return Item(
        id=f"documentation.{what}",
        phase=Phase.DOCUMENTATION,
        node=node,
        title=title,
        why=why,
        work=Question(text=text),
    )
