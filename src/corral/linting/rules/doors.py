"""Doors of Corral itself: ports that answer without a key."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.corpus import Corpus
from corral.linting.registry import Violation, checks
from corral.linting.releases import is_cluster_file
from corral.linting.values import Severity


@checks("D14", of_files=True)
def check_keyless_listeners(corpus: Corpus) -> Iterator[Violation]:
    """Look for listeners of cluster files that speak for an owner."""
    for document in corpus.documents:
        gateway = document.tree["gateway"]
        if not is_cluster_file(document) or not gateway.is_mapping:
            continue
        for _, listener in gateway.items:
            owner = listener["owner"].raw
            networks = [network.raw or "" for network in listener["allow"].entries]
            if owner:
                reach = ", ".join(networks) or "this machine"
                what = f"port {listener['port'].raw} speaks for {owner!r} without a key, for {reach}"
                severity = None if networks else Severity.NOTE
                yield Violation(place=listener.key or listener.place, what=what, severity=severity)
