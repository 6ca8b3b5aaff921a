"""Rules of `corral lint` that live objects can break as files do.

Those are chosen that are about the work of GPUs and that judge an object by itself, or with others of the cluster; a
rule whose symptom another diagnosis finds is left to that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from corral.diagnosis.case import Case
from corral.diagnosis.registry import find_pitfall
from corral.diagnosis.values import Evidence, Finding
from corral.linting.documents import Document, read_documents
from corral.linting.rules import CHECKS
from corral.linting.runner import lint
from corral.linting.values import Source
from corral.snapshot import ObjectKey
from corral.work import Json

LIVE_RULES: Mapping[str, str] = {
    "A01": "topology keys of affinity and anti-affinity",
    "A08": "containers of a pod that use the GPU of another",
    "A09": "NVIDIA_VISIBLE_DEVICES of containers",
    "A10": "CUDA_VISIBLE_DEVICES of containers",
    "A26": "volumes at /dev/shm of containers with several GPUs",
    "B01": "commands of containers",
    "B06": "numbers of workers of GPU containers",
    "D02": "Services and the ComfyUI pods that they select",
    "D03": "Services and the Ollama pods that they select",
    "D04": "selectors of Services",
    "D11": "types of Services of ComfyUI and Ollama",
    "E03": "replicas and access modes of claims",
    "E07": "volumes of programs that map weights",
    "E08": "commands of init containers with a volume on NFS",
}
"""The rules that run over live objects, with what they look at."""
_KINDS = (
    "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "Service", "PersistentVolumeClaim",
    "PersistentVolume", "ConfigMap", "HorizontalPodAutoscaler",
)  # fmt: skip
_SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_CHECKS = tuple(check for check in CHECKS if check.rule.id in LIVE_RULES)


def find_configured(case: Case) -> Iterator[Finding]:
    """Lint the objects that people and programs wrote: not those that a controller made of them."""
    sources: dict[str, tuple[Json, str]] = {}
    for value in (value for kind in _KINDS for value in case.snapshot.list(kind)):
        metadata = value["metadata"]
        if metadata.get("ownerReferences") or metadata.get("namespace") in _SYSTEM:
            continue
        sources[f"{ObjectKey.read(value)}.yaml"] = value, _write_manifest(value)
    report = lint(
        (Source(name=name, text=text) for name, (_, text) in sources.items()), cluster=case.cluster, checks=_CHECKS
    )
    for finding in report.findings:
        value, text = sources[finding.place.file]
        key = ObjectKey.read(value)
        path, shown = _find_path(finding.place.file, text, (finding.place.line, finding.place.column))
        yield Finding(
            pitfall=find_pitfall(finding.rule.id),
            subject=key,
            cause=finding.what,
            evidence=(Evidence(object=key, place=path, value=shown),),
            fix=finding.rule.fix,
        )


def _write_manifest(value: Json) -> str:
    """Write an object as a manifest, without what the API server adds."""
    metadata = {key: entry for key, entry in value["metadata"].items() if key != "managedFields"}
    manifest = {key: entry for key, entry in value.items() if key != "status"} | {"metadata": metadata}
    return json.dumps(manifest, indent=1)


def _find_path(name: str, text: str, place: tuple[int, int]) -> tuple[str, str]:
    """Find the path of the field at a place of a manifest, and its value."""
    for document in read_documents(name, text):
        for path, tree in document.tree.walk() if isinstance(document, Document) else ():
            for position in (tree.place, tree.key):
                if path and position is not None and (position.line, position.column) == place:
                    return _format_path(path), tree.raw if tree.raw is not None else "set"
    return "spec", "set"


def _format_path(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
