"""Names the comments that speak of a card that is gone: they are the user's words, so they stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.cluster.editing.comments import comments
from corral.cluster.values import Cluster
from corral.planning.changes.values import Note

_MAKER_AND_FAMILY = re.compile(r"^(?:(?:nvidia|amd|intel|geforce|radeon|rtx|gtx|rx|arc)\s+)+", re.IGNORECASE)
_MEMORY = re.compile(r"\s*\b\d+\s*GB\b", re.IGNORECASE)
_VARIANTS = r"(?!\s*(?:ti|super|xt|xtx|laptop)\b)"
"""What makes another model of a name, when it stands right behind it."""


def stale_comments(text: str, before: Cluster, after: Cluster, *, filename: str) -> Iterator[Note]:
    """Find comments about models of which no card is left in the cluster."""
    gone = sorted(_models(before) - _models(after))
    patterns = {model: _pattern(model) for model in gone}
    for position, comment in comments(text) if gone else ():
        named = [model for model, pattern in patterns.items() if pattern.search(comment)]
        if named:
            what = f"the comment speaks of {' and '.join(named)}, of which none is left; see whether it still holds"
            yield Note(what=what, where=f"{filename}:{position.line}:{position.column}")


def _models(cluster: Cluster) -> set[str]:
    return {gpu.model for node in cluster.nodes for gpu in node.gpus or () if gpu.model}


def _pattern(model: str) -> re.Pattern[str]:
    words = _MEMORY.sub("", _MAKER_AND_FAMILY.sub("", model)).split()
    name = r"[\s-]*".join(re.escape(word) for word in words)
    return re.compile(rf"(?<![0-9A-Za-z]){name}(?![0-9A-Za-z]){_VARIANTS}", re.IGNORECASE)
