"""Values for the chart that brings NVIDIA's GPUs to Kubernetes: the DRA driver, or the device plugin, never both.

The charts are NVIDIA's; only what has to differ from their own values is written. Both look for the node label
`nvidia.com/gpu.present`, which the patches of nodes set.
"""

from __future__ import annotations

from collections.abc import Mapping

from corral.cluster.values import GpuMode
from corral.rendering.cards import nvidia_cards
from corral.rendering.documents import document
from corral.rendering.installation import Installation
from corral.rendering.systems import runs_nixos

FOLDER = "kubernetes/helm"


def values(installation: Installation) -> Mapping[str, str]:
    """The values of one chart, by path; nothing for a cluster without GPUs."""
    if not any(node.gpus is None or node.gpus for node in installation.cluster.nodes):
        return {}
    return _dra(installation) if installation.gpu_mode is GpuMode.DRA else _device_plugin(installation)


def dra_notes(installation: Installation) -> list[str]:
    """Where the driver will not find the cards.

    Source: `librarySearchPaths` of the driver's gpu-kubelet-plugin; NixOS has no library at any of those places.
    """
    nodes = [node.name for node in installation.cluster.nodes if nvidia_cards(node) and runs_nixos(node)]
    if not nodes:
        return []
    return [
        f"NVIDIA's DRA driver was not tried on NixOS ({', '.join(nodes)}), and looks for the driver's libraries where "
        "NixOS has none; `kubernetes.gpuMode: devicePlugin` does without, and cannot choose between cards of a node."
    ]


def _dra(installation: Installation) -> Mapping[str, str]:
    """The chart refuses to serve GPUs until it is told that no device plugin does (pitfall A32)."""
    chosen = {
        "gpuResourcesEnabledOverride": True,
        "resources": {"gpus": {"enabled": True}, "computeDomains": {"enabled": False}},
    }
    notes = (
        "Values of NVIDIA's chart dra-driver-nvidia-gpu (kubernetes-sigs), for Kubernetes 1.34 and later.",
        "Uninstall the device plugin first: two that hand out the same cards collide.",
        *dra_notes(installation),
    )
    return {f"{FOLDER}/dra-driver-nvidia-gpu.yaml": document(installation, chosen, *notes)}


def _device_plugin(installation: Installation) -> Mapping[str, str]:
    """On K3s the plugin itself needs NVIDIA's runtime to see the cards (pitfall A16)."""
    notes = ("Values of NVIDIA's chart nvidia-device-plugin.",)
    return {f"{FOLDER}/nvidia-device-plugin.yaml": document(installation, {"runtimeClassName": "nvidia"}, *notes)}
