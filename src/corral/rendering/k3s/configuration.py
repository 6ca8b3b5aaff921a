"""K3s' configuration file for each node that does not run NixOS, with the installation steps as comments."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from corral.cluster.values import K3sRole, Node, StorageKind
from corral.rendering.documents import write_document
from corral.rendering.gpus import POWER_LIMIT_UNIT, list_limited_gpus, list_nvidia_gpus
from corral.rendering.installation import Installation
from corral.rendering.k3s.members import Member, list_local_directories, resolve_member
from corral.rendering.nodes import runs_nixos

CONFIGURATION = "/etc/rancher/k3s/config.yaml"
_NFS_STEP = "   NFS volumes need the programs that mount them: nfs-common on Debian and Ubuntu."


def render_configurations(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render a configuration file for each K3s node that does not run NixOS; texts by path."""
    installation = replace(installations[0], layout=None)
    members = [resolve_member(installation, node) for node in installation.cluster.nodes if not runs_nixos(node)]
    return {
        f"k3s/{member.node.name}/config.yaml": write_document(
            installation, _build_settings(member), *_list_steps(installation, member)
        )
        for member in members
        if member is not None
    }


def _build_settings(member: Member) -> dict[str, Any]:
    """K3s' flags in the form of its file (docs.k3s.io/installation/configuration); unset flags are left out."""
    settings: dict[str, Any] = {"node-name": member.node.name, "token-file": member.token_file}
    if member.begins:
        settings["cluster-init"] = True
    if member.joins is not None:
        settings["server"] = member.joins
    lists = {
        "tls-san": member.certificate_names,
        "node-label": member.labels,
        "kubelet-arg": member.kubelet_arguments,
    }
    return settings | {key: list(values) for key, values in lists.items() if values}


def _list_steps(installation: Installation, member: Member) -> list[str]:
    node = member.node
    token = shlex.quote(member.token_file)
    steps = [
        *member.notes,
        f"It goes to {CONFIGURATION} on {node.name}. Before K3s is installed there:",
        f"1. The same token on every node, readable by root only: sudo install -D -m 0400 token {token}",
        *_list_gpu_steps(node),
        *([_NFS_STEP] if _has_nfs(installation) else []),
        *_list_directory_steps(installation, node),
        f"3. curl -sfL https://get.k3s.io | INSTALL_K3S_EXEC={member.role.value} sh -",
        "A change here takes effect with the next start of K3s: it adds and changes labels, and removes none.",
    ]
    if list_limited_gpus(node):
        steps.append(f"Power limits: systemd/{node.name}/{POWER_LIMIT_UNIT}.service.")
    return steps


def _list_gpu_steps(node: Node) -> list[str]:
    if not list_nvidia_gpus(node):
        return ["2. This node has no known NVIDIA GPU and needs no driver."]
    unit = "k3s" if node.k3s_role is K3sRole.SERVER else "k3s-agent"
    return [
        "2. NVIDIA's driver and the package nvidia-container-toolkit: K3s looks for nvidia-container-runtime",
        f"   on the PATH of its service when it starts, and only then. Installed later: sudo systemctl restart {unit}",
        "   Check: sudo grep nvidia /var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    ]


def _list_directory_steps(installation: Installation, node: Node) -> list[str]:
    directories = list_local_directories(installation, node)
    if not directories:
        return []
    paths = " ".join(shlex.quote(directory) for directory in directories)
    return [f"   Directories of volumes, which Kubernetes does not make: sudo mkdir -p {paths}"]


def _has_nfs(installation: Installation) -> bool:
    return any(storage.kind is StorageKind.NFS for storage in installation.cluster.storage.values())
