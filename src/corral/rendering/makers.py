"""Makers of GPUs, and what a container needs of them: a resource, device files, groups, a runtime, an image.

Sources: the README files of k8s-device-plugin (NVIDIA and ROCm) and of intel-device-plugins-for-kubernetes; ROCm's
"Running ROCm Docker containers" for the devices and the groups of AMD and, with `/dev/dri` alone, Intel.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from corral.cluster.values import Node, Service
from corral.container_images import OLLAMA as OLLAMA_IMAGE
from corral.container_images import find_image, split_reference
from corral.container_images import list_makers as list_makers_of_tag
from corral.engine_kinds import OLLAMA
from corral.hardware.makers import AMD, APPLE, INTEL, NVIDIA, RESOURCES, find_maker, find_model


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAccess:
    """How containers get the GPUs of a maker."""

    resources: tuple[str, ...]
    """Of Kubernetes; empty where no container gets such a GPU."""
    devices: tuple[str, ...] = ()
    """Device files that Docker hands in; empty where its NVIDIA runtime does."""
    groups: tuple[str, ...] = ()
    """Groups of the host that the device files belong to."""


ACCESS: Mapping[str, GpuAccess] = {
    NVIDIA: GpuAccess(resources=RESOURCES[NVIDIA]),
    AMD: GpuAccess(resources=RESOURCES[AMD], devices=("/dev/kfd", "/dev/dri"), groups=("video", "render")),
    INTEL: GpuAccess(resources=RESOURCES[INTEL], devices=("/dev/dri",), groups=("video", "render")),
    APPLE: GpuAccess(resources=RESOURCES[APPLE]),
}
"""By maker."""
_MACOS = re.compile(r"mac ?os|darwin|os ?x", re.IGNORECASE)


def runs_macos(node: Node) -> bool:
    """Return whether a machine is a Mac: its containers are in a virtual machine, which has no GPU."""
    if node.os is not None:
        return bool(_MACOS.search(node.os))
    return any(find_maker(gpu) == APPLE for gpu in node.gpus or ())


_NIXOS = "nixos"
"""As `ID` of /etc/os-release has it."""


def runs_nixos(node: Node) -> bool:
    """Return whether a node's system is NixOS, in any spelling."""
    return node.os is not None and node.os.lower() == _NIXOS


def is_jetson(node: Node) -> bool:
    """Return whether a machine is a module of NVIDIA's, whose driver comes with its system (JetPack)."""
    return any((model := find_model(gpu)) is not None and model.name.startswith("Jetson") for gpu in node.gpus or ())


_WORDS = (
    (re.compile(r"rocm"), frozenset({AMD})),
    (re.compile(r"vulkan"), frozenset({NVIDIA, AMD, INTEL})),
    (re.compile(r"\bxpu\b|-xpu|ipex|openvino|intelanalytics|^intel/|sycl|oneapi|[:-]intel\b"), frozenset({INTEL})),
    (re.compile(r"cuda|nvidia|nvcr\.io|dustynv|\bcu1[12]\d\b"), frozenset({NVIDIA})),
    (re.compile(r"^(?:docker\.io/)?(?:ollama/ollama|vllm/vllm-openai|lmsysorg/sglang)\b"), frozenset({NVIDIA})),
)
"""Words of images of which no tags are known, the first that is in one decides; images of one program without a word
are for CUDA."""


def list_makers_of_image(image: str, variables: Collection[str] = ()) -> frozenset[str] | None:
    """List the makers whose GPUs an image computes on with these variables; None where its name does not say."""
    facts, tag = find_image(image), split_reference(image)[1]
    if facts is not None and facts.tags and tag:
        return frozenset(maker.value for maker in list_makers_of_tag(facts, tag, variables)) or None
    return next((makers for pattern, makers in _WORDS if pattern.search(image)), None)


IMAGES: Mapping[str, Mapping[str, str]] = {OLLAMA.name: {AMD: "-rocm"}}
"""Endings of the usual image of an engine for GPUs that are not NVIDIA's (Ollama's docs/docker.mdx); a maker
that is missing has no such image."""


def list_makers(service: Service) -> frozenset[str] | None:
    """List the makers whose GPUs a service computes on; None where nothing says."""
    if service.image is not None:
        return list_makers_of_image(service.image, service.env)
    if OLLAMA.name in service.engines:
        usual = list_makers_of_image(OLLAMA_IMAGE.repositories[0], service.env) or frozenset[str]()
        return usual | IMAGES[OLLAMA.name].keys()
    return None


def explain_wrong_maker(service: Service, maker: str) -> str | None:
    """Explain why a service does not compute on a maker's GPUs; None where it does, natively on a Mac, or might."""
    makers = list_makers(service)
    if maker == APPLE or makers is None or maker in makers:
        return None
    image = service.image or "the usual image"
    return f"{image} computes on {' and '.join(sorted(makers))} GPUs, and this one is {maker}'s"
