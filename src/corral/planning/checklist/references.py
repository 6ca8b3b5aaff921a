"""What manifests, scripts and notes may still say of the machine as it was."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from corral.cluster.values import Cluster
from corral.hardware.pools import UNKNOWN_CLASS, class_of
from corral.planning.checklist.nodes import NodeChange
from corral.planning.checklist.values import Command, Item, Phase

_ALWAYS = (r"CUDA_VISIBLE_DEVICES", r"NVIDIA_VISIBLE_DEVICES")
"""Numbers of cards in a pod or a script: inside a container counting starts at 0 (A10)."""


def old_words(change: NodeChange, before: Cluster, after: Cluster) -> tuple[str, ...]:
    """List what named the cards, labels and queues that go: model classes, label keys, queue names."""
    stays = {class_of(gpu) for gpu in change.cards}
    classes = [class_of(gpu) for gpu in change.went]
    words = [name for name in classes if name not in stays and name != UNKNOWN_CLASS]
    words += change.removed_labels
    words += [name for name in before.queues if name not in after.queues]
    return tuple(dict.fromkeys(words))


def references_item(change: NodeChange, before: Cluster, after: Cluster) -> Iterator[Item]:
    """Make the item that looks for them; none when no card moved."""
    if not change.went:
        return
    words = old_words(change, before, after)
    pattern = "|".join([*(re.escape(word) for word in words), *_ALWAYS])
    yield Item(
        id=f"software.{change.name}.references",
        phase=Phase.SOFTWARE,
        node=change.name,
        title=f"{change.name}: no manifest or script names what is gone",
        why="a selector for a label that is gone leaves pods waiting for ever, a card's number picks the wrong card",
        work=Command(line=f"! grep -rnIE --exclude-dir=.git {shlex.quote(pattern)} ."),
        material="run it where manifests and scripts are kept; it succeeds when nothing is found",
    )
