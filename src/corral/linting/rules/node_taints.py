"""Taints that K3s gives to nodes: a flag counts once, when the node registers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.registry import Found, checks
from corral.linting.scene import Scene
from corral.linting.values import Rule, Severity

_FLAG = re.compile(r"--node-taint[= ][\"']?(?P<taint>[^\s\"']{1,400})")
_GONE = re.compile(r"\b(?:removed|gone|deleted|was|changed)\b", re.IGNORECASE)
_COMMENTED_OUT = re.compile(r"^\s*(?:#|//)\s*[\"']?--node-taint[= ]")


@checks(
    Rule(
        id="F05",
        name="taint-change-ignored",
        severity=Severity.WARNING,
        summary="a taint flag that was taken out or changed",
        practice="The node keeps the taint that it registered with: pods without its toleration stay away as before.",
        source="docs.k3s.io, agent options: taints are set at registration only; reproduced on Kubernetes 1.36: a "
        "kubelet may not change the taints of its own node afterwards",
        fix="Change it by hand, once: `kubectl taint node <node> <key>-`.",
    )
)
def taint_stays(scene: Scene) -> Iterator[Found]:
    """Look for comments that say that a flag was removed or changed, and for flags that were commented out."""
    for text, module in scene.modules:
        for comment in module.comments:
            match = _FLAG.search(comment.text)
            is_gone = _GONE.search(comment.text) or _COMMENTED_OUT.match(comment.text)
            if match and is_gone and "kubectl taint" not in comment.text:
                what = f"the flag of {match['taint']} is gone, the taint stays on the node"
                yield Found(place=text.place(comment.offset), what=what)
