"""Helm charts that K3s deploys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.registry import Found, checks

_NO_TOOLKIT = re.compile(r"toolkit:\s*(?:\{[^}]*|\n(?:[ \t]+[^\n]*\n)*?[ \t]+)enabled:\s*false")
_TOLD = ("CONTAINERD_SOCKET", "nriPluginEnabled")


@checks("F13")
def operator_without_paths(scene: Scene) -> Iterator[Found]:
    """Look for K3s' own chart objects; a file elsewhere that names the socket says that it is known."""
    if any(word in text for text in scene.sources.values() for word in _TOLD):
        return
    for one in scene.of_kind("HelmChart"):
        chart = one.tree["spec"]["chart"]
        values = one.tree["spec"]["valuesContent"].raw or ""
        off = one.tree["spec"]["set"]["toolkit.enabled"].raw == "false"
        if (chart.raw or "").rpartition("/")[2] == "gpu-operator" and not off and not _NO_TOOLKIT.search(values):
            yield Found(place=chart.place, what="its toolkit is not told where K3s' containerd is", subject=one)
