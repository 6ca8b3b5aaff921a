"""Taints that K3s gives to nodes: a flag counts once, when the node registers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.registry import Found, checks

_FLAG = re.compile(r"--node-taint[= ][\"']?(?P<taint>[^\s\"']{1,400})")
_GONE = re.compile(r"\b(?:removed|gone|deleted|was|changed)\b", re.IGNORECASE)
_COMMENTED_OUT = re.compile(r"^\s*(?:#|//)\s*[\"']?--node-taint[= ]")


@checks("F05")
def taint_stays(scene: Scene) -> Iterator[Found]:
    """Look for comments that say that a flag was removed or changed, and for flags that were commented out."""
    for text, module in scene.modules:
        for comment in module.comments:
            match = _FLAG.search(comment.text)
            is_gone = _GONE.search(comment.text) or _COMMENTED_OUT.match(comment.text)
            if match and is_gone and "kubectl taint" not in comment.text:
                what = f"the flag of {match['taint']} is gone, the taint stays on the node"
                yield Found(place=text.place(comment.offset), what=what)
