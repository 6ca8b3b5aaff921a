"""GPUs that are not NVIDIA's, and processors that are not x86-64."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.cluster.values import Node
from corral.container_images import find_image, split_reference
from corral.hardware.rocm import NATIVE_SINCE, Target, find_target, parse_override
from corral.linting.corpus import Corpus
from corral.linting.kustomizing import split_image
from corral.linting.manifests import Pod
from corral.linting.programs import Program
from corral.linting.registry import Violation, checks
from corral.linting.rules.gpu_selection import HOSTNAME

_OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"
_OLLAMA_VERSION = re.compile(r"^v?0\.(?P<minor>\d+)\.")
_OLDER_THAN = 16
"""Ollama 0.16 and older had ROCm 6.3 (ROCm/legacy-rocm-build#5902, February 2026)."""


@checks("A39")
def check_overrides(corpus: Corpus) -> Iterator[Violation]:
    """Look for overrides that fit no AMD GPU of the cluster file, or one that ROCm knows by itself."""
    targets = [target for model in corpus.gpu_models if (target := find_target(model)) is not None]
    for program in corpus.programs if targets else ():
        value = program.settings.get(_OVERRIDE)
        override = parse_override(value.raw) if value and value.raw else None
        reasons = [_judge_override(program, target, override) for target in targets] if override else []
        if value is not None and reasons and None not in reasons:
            yield Violation(
                place=value.place, what=f"{_OVERRIDE} is {value.raw}: {reasons[0]}", subject=program.subject
            )


def _judge_override(program: Program, target: Target, override: Target) -> str | None:
    """Return what is wrong with an override for a GPU; None where it is right, or can be."""
    if override.name == target.name:
        return None
    if override.major != target.major:
        return f"kernels of another generation ({override.name}) for a GPU that is {target.name}"
    if target.is_native_in_7_2 and not _has_older_rocm(program):
        return f"ROCm {NATIVE_SINCE} runs {target.name} as what it is; kernels of {override.name} can fault on it"
    return None


def _has_older_rocm(program: Program) -> bool:
    """Return whether an image is known to have a ROCm from before."""
    name, tag = split_reference(program.image or "")
    match = _OLLAMA_VERSION.match(tag) if name == "ollama/ollama" else None
    return match is not None and int(match["minor"]) <= _OLDER_THAN


_ARCHITECTURES = ("kubernetes.io/arch", "beta.kubernetes.io/arch")
_ARM = re.compile(r"raspberry|jetson|orin|grace|gb10|ampere altra|rockchip|rk35\d\d|apple m\d|graviton", re.IGNORECASE)
"""Processors of 64-bit ARM, as people name them."""


@checks("A40")
def check_architectures(corpus: Corpus) -> Iterator[Violation]:
    """Look for pods whose images are not for a node that nothing keeps them off."""
    nodes = [node for node in (corpus.cluster.nodes if corpus.cluster else ()) if _find_architecture(node) == "arm64"]
    for pod in corpus.pods if nodes else ():
        if not _can_land_on_any(pod):
            continue
        for container in pod.containers:
            facts = find_image(container.image) if container.image else None
            if facts is not None and facts.platforms and "arm64" not in facts.platforms:
                names = ", ".join(node.name for node in nodes)
                image = split_image(container.image or "")[0]
                what = f"{image} is for {', '.join(facts.platforms)} alone, and the pod can land on {names} (arm64)"
                yield Violation(place=container.tree["image"].place, what=what, subject=pod.owner)


def _can_land_on_any(pod: Pod) -> bool:
    """Return whether nothing that is written chooses among nodes; a request for a device leads to nodes with one."""
    selector = pod.spec["nodeSelector"]
    is_bound = bool(selector[HOSTNAME] or selector.keys or pod.spec["affinity"]["nodeAffinity"] or pod.spec["nodeName"])
    asks = any(
        "/" in name
        for container in pod.containers
        for name in container.tree["resources"]["limits"].keys | container.tree["resources"]["requests"].keys
    )
    return not is_bound and not asks and not pod.spec["resourceClaims"]


def _find_architecture(node: Node) -> str | None:
    """Find the architecture of a node: by its label, else by its processor; None when unknown."""
    labels = [node.labels[name] for name in _ARCHITECTURES if name in node.labels]
    if labels:
        return labels[0]
    return "arm64" if _ARM.search(node.cpu_model or "") else None
