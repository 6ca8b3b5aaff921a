"""Grafana Alloy: logs to Loki, from pods and from the machines' journals.

Labels are few and bounded: Loki keeps a stream for each combination, so nothing that grows with the work (tasks, pods)
is one. Pods' names go along as structured metadata, which is no label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from corral.cluster.values import ServiceKind
from corral.rendering.alloy import sources
from corral.rendering.alloy.blocks import Block
from corral.rendering.documents import header
from corral.rendering.installation import Installation

LOKI = "loki"
_COMMENT = "//"


def files(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """One file for machines; in Kubernetes another one for pods."""
    one = replace(installations[0], layout=None)
    deployed = [each for installation in installations for each in installation.deployed]
    loki = next((each for each in deployed if each.service.name == LOKI), None)
    outside = sources.address_on_machines(one, loki) if loki else None
    runs_elsewhere = any(each.service.kind is ServiceKind.CORRAL for each in deployed)
    machine = [*sources.journal(), *([] if runs_elsewhere else [sources.server_log(one)])]
    written = {"alloy/machine.alloy": _file(one, machine, outside, *_MACHINE_NOTES)}
    if one.cluster.kubernetes is not None:
        namespaces = sorted({each.namespace for each in deployed} | {one.namespace})
        inside = sources.address_in_kubernetes(loki) if loki else None
        pods = sources.pods(namespaces)
        written["alloy/kubernetes.alloy"] = _file(one, pods, inside, *_KUBERNETES_NOTES)
    return written


_MACHINE_NOTES = (
    "For each machine, as a service: Alloy's user has to be in the groups adm and systemd-journal.",
    "Check: alloy fmt --test machine.alloy",
)
_KUBERNETES_NOTES = (
    "For one Alloy inside of Kubernetes that may read pods and pods/log, as its Helm chart sets it; several share",
    "the pods between them when they run with --cluster.enabled=true.",
    "Names of pods are structured metadata, which Loki takes from version 3 on.",
    "Check: alloy fmt --test kubernetes.alloy",
)


_PASSWORD_NOTE = "LOKI_USERNAME and the file that LOKI_PASSWORD_FILE names let it in, where Loki asks for them."


def _file(installation: Installation, blocks: Iterable[Block], loki: str | None, *notes: str) -> str:
    """`loki` is its address as far as the cluster file tells; the environment's comes before it."""
    where = "LOKI_URL in its environment says where Loki is" + (f"; without it, {loki}." if loki else ".")
    every = ("Needs Alloy 1.5 or newer (sys.env).", where, *(() if loki else (_PASSWORD_NOTE,)), *notes)
    written = [*blocks, sources.to_loki(installation, loki)]
    return header(installation, *every, comment=_COMMENT) + "".join(f"\n{block.text()}" for block in written)
