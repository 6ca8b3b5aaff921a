"""A module for each node that runs NixOS, for the current channel and for the previous one.

A node's configuration imports its module, as the flake does (`rendering.nixos.flake`). A module holds what the cluster
file knows of the machine (K3s, driver, volumes, firewall, power limits) and nothing that a layout switches:
`services.k3s.manifests` would leave its objects behind (pitfall F11). Facts about options: nixpkgs' modules `rancher`,
`k3s` and `nvidia-container-toolkit`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from corral.cluster.values import GpuMode, K3sRole, Node, Storage, StorageKind
from corral.rendering.documents import write_header
from corral.rendering.gpus import list_nvidia_gpus
from corral.rendering.installation import Installation
from corral.rendering.k3s import (
    FLANNEL_PORT,
    Member,
    list_exposed_ports,
    list_local_directories,
    resolve_member,
)
from corral.rendering.makers import runs_nixos
from corral.rendering.nixos.drivers import CDI_UNIT, list_driver_notes, list_driver_parts, list_power_parts
from corral.rendering.nixos.expressions import Code, Part, Value, format_module
from corral.rendering.prometheus.jobs import NODE_PORT
from corral.rendering.systemd import escape_word, quote_field


class Channel(StrEnum):
    """A channel of NixOS, by the options that its module of K3s has."""

    CURRENT = "25.11"
    """This and newer: `services.k3s.nodeName` and `nodeLabel` (nixos/modules/services/cluster/rancher)."""
    PREVIOUS = "25.05"
    """The same as flags (nixos/modules/services/cluster/k3s)."""


FOLDERS = {Channel.CURRENT: "nixos", Channel.PREVIOUS: "nixos/previous-channel"}
"""The folder of each channel's modules, which are named after their nodes."""
_RUNTIME = """pkgs.writeShellScriptBin "nvidia-container-runtime" ''
  exec ${pkgs.nvidia-container-toolkit.tools}/bin/nvidia-container-runtime.cdi "$@"
''"""
_WHY_PATH = (
    "K3s looks for `nvidia-container-runtime` on the path of its service and makes the runtime `nvidia` of it, in the "
    "format of its own containerd (pitfalls F07, F08). It finds the toolkit's CDI runtime here: the other one needs "
    "files at places that NixOS does not have. runc is what that runtime calls."
)
_NFS_PORT = 2049
"""NFS 4 needs no other."""
_UNPRIVILEGED = "nobody"
_UNPRIVILEGED_ID = 65534
_EXPORT_OPTIONS = f"rw,no_subtree_check,all_squash,anonuid={_UNPRIVILEGED_ID},anongid={_UNPRIVILEGED_ID}"
_PLAIN_IN_EXPORTS = re.compile(r"[A-Za-z0-9_@%+=:,./-]")


def render_modules(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render two modules for each node that runs NixOS, one for each channel; texts by path."""
    return {
        f"{folder}/{node.name}.nix": _render_module(installations, node, channel)
        for node in installations[0].cluster.nodes
        if runs_nixos(node)
        for channel, folder in FOLDERS.items()
    }


def _render_module(installations: Sequence[Installation], node: Node, channel: Channel) -> str:
    installation = replace(installations[0], layout=None)
    member = resolve_member(installation, node)
    no_member = f"The file does not give {node.name} a role in K3s (`k3sRole`): no K3s here."
    notes = [
        *_list_channel_notes(node, channel),
        *(member.notes if member else [no_member]),
        *list_driver_notes(node),
        *(_list_claim_notes(installation) if member else []),
        *_list_volume_notes(installations, node),
    ]
    return write_header(installation, *notes) + format_module(_list_parts(installations, node, member, channel))


def _list_channel_notes(node: Node, channel: Channel) -> list[str]:
    if channel is Channel.CURRENT:
        return [
            f"For NixOS {channel.value} and newer; for {Channel.PREVIOUS} there is previous-channel/{node.name}.nix."
        ]
    return [
        f"For NixOS {channel.value}, where `services.k3s` has no `nodeName` and `nodeLabel`: both are flags here.",
        f"Nothing else differs from nixos/{node.name}.nix.",
    ]


def _list_claim_notes(installation: Installation) -> list[str]:
    """A channel's K3s can be too old for claims: Kubernetes serves `resource.k8s.io/v1` from 1.34 on (KEP-4381)."""
    if installation.gpu_mode is not GpuMode.DRA:
        return []
    return ["Pods ask for GPUs by claim, which K3s 1.34 and newer understand: see services.k3s.package."]


def _list_parts(
    installations: Sequence[Installation], node: Node, member: Member | None, channel: Channel
) -> Iterator[Part]:
    if member is not None:
        has_nvidia, mounts_nfs = bool(list_nvidia_gpus(node)), _uses_nfs(installations, node)
        yield from _list_k3s_parts(member, channel, has_nvidia=has_nvidia, mounts_nfs=mounts_nfs)
    yield from list_driver_parts(node)
    yield from list_power_parts(node)
    yield from _list_volume_parts(installations, node)
    yield from _list_firewall_parts(installations, node, member)


def _list_k3s_parts(member: Member, channel: Channel, *, has_nvidia: bool, mounts_nfs: bool) -> Iterator[Part]:
    """The service, and the programs on its path."""
    yield Part(
        comment=f"The token is in {escape_word(member.token_file)} (root, mode 0400; sops-nix or agenix write it "
        "there) and never in the Nix store, which everybody can read (pitfall F06).",
        values={"services.k3s": _build_k3s_options(member, channel)},
    )
    packages: list[Value] = []
    if has_nvidia:
        packages += [Code(_RUNTIME), Code("pkgs.runc")]
    if mounts_nfs:
        packages.append(Code("pkgs.nfs-utils"))
    if not packages:
        return
    unit: dict[str, Value] = {"path": packages}
    if has_nvidia:
        # The CDI runtime reads the file that this unit generates: without it pods start and see no GPU.
        unit |= {"after": [CDI_UNIT], "wants": [CDI_UNIT]}
    yield Part(comment=_WHY_PATH if has_nvidia else "", values={"systemd.services.k3s": unit})


def _build_k3s_options(member: Member, channel: Channel) -> dict[str, Value]:
    options: dict[str, Value] = {
        "enable": True,
        "role": member.role.value,
        "tokenFile": escape_word(member.token_file),
    }
    if member.joins is not None:
        options["serverAddr"] = escape_word(member.joins)
    if member.begins:
        options["clusterInit"] = True
    flags: list[str] = []
    if channel is Channel.CURRENT:
        options["nodeName"] = member.node.name
        if member.labels:
            options["nodeLabel"] = list(member.labels)
    else:
        flags += [f"--node-name={member.node.name}", *(f"--node-label={label}" for label in member.labels)]
    flags += [f"--kubelet-arg={argument}" for argument in member.kubelet_arguments]
    if member.role is K3sRole.SERVER:
        flags += [f"--tls-san={name}" for name in member.certificate_names]
    if flags:
        options["extraFlags"] = flags
    return options


def _list_firewall_parts(installations: Sequence[Installation], node: Node, member: Member | None) -> Iterator[Part]:
    ports: dict[int, str] = {}
    if member is not None:
        ports |= {port: ", ".join(names) for port, names in list_exposed_ports(installations).items()}
        ports |= member.tcp_ports
        ports[NODE_PORT] = "node exporter"  # a pod on the node's own network; Prometheus comes from another node
    if _is_nfs_server(installations, node):
        ports[_NFS_PORT] = "NFS"
    if not ports:
        return
    values = {"networking.firewall.allowedTCPPorts": sorted(ports)}
    comment = "; ".join(f"{port} {program}" for port, program in sorted(ports.items()))
    if member is not None:
        values["networking.firewall.allowedUDPPorts"] = [FLANNEL_PORT]
        comment += f"; {FLANNEL_PORT} flannel (VXLAN)"
    yield Part(comment=f"{comment}.", values=values)


def _list_volume_parts(installations: Sequence[Installation], node: Node) -> Iterator[Part]:
    """Directories, mounts and exports of a node."""
    installation = installations[0]
    shares = _list_shares(installation, node)
    directories = [f"d {quote_field(path)} 0755 root root -" for path in list_local_directories(installation, node)]
    directories += [f"d {quote_field(share.path or '/')} 0755 {_UNPRIVILEGED} nogroup -" for share in shares]
    if directories:
        yield Part(
            comment="Directories of volumes on this node's disk: Kubernetes does not make them.",
            values={"systemd.tmpfiles.rules": directories},
        )
    if _uses_nfs(installations, node):
        yield Part(
            comment="Pods mount NFS through the node's own programs.", values={"boot.supportedFilesystems": ["nfs"]}
        )
    clients = _list_nfs_clients(installations, node)
    if shares and clients:
        yield _build_exports(shares, clients)


def _list_volume_notes(installations: Sequence[Installation], node: Node) -> Iterator[str]:
    """Volumes of a node that are not exported or not made, and why."""
    installation = installations[0]
    for storage in installation.cluster.storage.values():
        if storage.kind is StorageKind.NFS and storage.node == node.name and storage.path is None:
            yield f"The file gives no path for the volume {storage.name}: it is not exported."
        if storage.node == node.name and storage.path is not None and not storage.path.isprintable():
            yield f"The path of the volume {storage.name} has characters that cannot be printed: it is not made."
    if _list_shares(installation, node) and not _list_nfs_clients(installations, node):
        yield "No other node mounts its volumes: nothing is exported."


def _is_nfs_server(installations: Sequence[Installation], node: Node) -> bool:
    """Return whether a node serves NFS to others."""
    return bool(_list_shares(installations[0], node)) and bool(_list_nfs_clients(installations, node))


def _list_nfs_clients(installations: Sequence[Installation], node: Node) -> list[Node]:
    """The other nodes that mount NFS volumes."""
    return [
        other for other in installations[0].cluster.nodes if other.name != node.name and _uses_nfs(installations, other)
    ]


def _uses_nfs(installations: Sequence[Installation], node: Node) -> bool:
    """Return whether a pod that mounts NFS can run on a node in any layout."""
    return node.k3s_role is not None and any(
        storage.kind is StorageKind.NFS and deployed.node in (None, node.name)
        for installation in installations
        for deployed in installation.deployed
        for storage in deployed.storage
    )


def _list_shares(installation: Installation, node: Node) -> list[Storage]:
    """The NFS volumes on a node's disk for which the cluster file gives a path."""
    return [
        storage
        for storage in installation.cluster.storage.values()
        if storage.kind is StorageKind.NFS
        and storage.node == node.name
        and storage.path is not None
        and storage.path.isprintable()
    ]


def _build_exports(shares: Sequence[Storage], clients: Sequence[Node]) -> Part:
    hosts = " ".join(f"{client.address or client.name}({_EXPORT_OPTIONS})" for client in clients)
    lines = "".join(f"{_escape_export_path(share.path or '/')} {hosts}\n" for share in shares)
    return Part(
        comment="To the nodes that mount it, and as one user: the user that a container runs as makes no difference.",
        values={"services.nfs.server": {"enable": True, "exports": lines}},
    )


def _escape_export_path(path: str) -> str:
    """A path in the syntax of exports(5): special characters in octal."""
    return "".join(
        character if _PLAIN_IN_EXPORTS.fullmatch(character) else "".join(f"\\{byte:03o}" for byte in character.encode())
        for character in path
    )
