"""NixOS modules: one for each node that runs NixOS, for the current channel and for the one before.

Import a node's file in its configuration. A module holds what the cluster file knows of the machine (K3s, driver,
volumes, firewall, power limits) and nothing that a layout switches: `services.k3s.manifests` would leave its objects
behind (pitfall F11). Facts about options: nixpkgs' modules `rancher`, `k3s` and `nvidia-container-toolkit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from corral.cluster.values import GpuMode, Node
from corral.rendering.cards import nvidia_cards
from corral.rendering.documents import header
from corral.rendering.installation import Installation
from corral.rendering.k3s.members import FLANNEL_PORT, Member, member_of
from corral.rendering.k3s.ports import exposed_ports
from corral.rendering.nixos.drivers import driver_notes, driver_parts, power_parts
from corral.rendering.nixos.joining import Channel, k3s_parts
from corral.rendering.nixos.modules import Part, module
from corral.rendering.nixos.volumes import NFS_PORT, is_exporter, uses_nfs, volume_notes, volume_parts
from corral.rendering.prometheus.jobs import NODE_PORT
from corral.rendering.systems import runs_nixos

_FOLDERS = {Channel.CURRENT: "nixos", Channel.PREVIOUS: "nixos/previous-channel"}


def files(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Two modules for each node that runs NixOS."""
    return {
        f"{folder}/{node.name}.nix": _file(installations, node, channel)
        for node in installations[0].cluster.nodes
        if runs_nixos(node)
        for channel, folder in _FOLDERS.items()
    }


def _file(installations: Sequence[Installation], node: Node, channel: Channel) -> str:
    one = installations[0]
    member = member_of(one, node)
    notes = [
        *_about(node, channel),
        *(member.notes if member else [f"The file does not say what {node.name} is to K3s (`k3sRole`): no K3s here."]),
        *driver_notes(node),
        *(_about_claims(one) if member else []),
        *volume_notes(installations, node),
    ]
    return header(replace(one, layout=None), *notes) + module(_parts(installations, node, member, channel))


def _about(node: Node, channel: Channel) -> list[str]:
    if channel is Channel.CURRENT:
        return [
            f"For NixOS {channel.value} and newer; for {Channel.PREVIOUS} there is previous-channel/{node.name}.nix."
        ]
    return [
        f"For NixOS {channel.value}, where `services.k3s` has no `nodeName` and `nodeLabel`: both are flags here.",
        f"Nothing else differs from nixos/{node.name}.nix.",
    ]


def _about_claims(installation: Installation) -> list[str]:
    """What a channel's K3s may be too old for: `resource.k8s.io/v1` is served from Kubernetes 1.34 on (KEP-4381)."""
    if installation.gpu_mode is not GpuMode.DRA:
        return []
    return ["Pods ask for GPUs by claim, which K3s 1.34 and newer understand: see services.k3s.package."]


def _parts(
    installations: Sequence[Installation], node: Node, member: Member | None, channel: Channel
) -> Iterator[Part]:
    mounts_nfs = uses_nfs(installations, node)
    if member is not None:
        yield from k3s_parts(member, channel, has_nvidia=bool(nvidia_cards(node)), mounts_nfs=mounts_nfs)
    yield from driver_parts(node)
    yield from power_parts(node)
    yield from volume_parts(installations, node)
    yield from _firewall(installations, node, member)


def _firewall(installations: Sequence[Installation], node: Node, member: Member | None) -> Iterator[Part]:
    ports: dict[int, str] = {}
    if member is not None:
        ports |= {port: ", ".join(names) for port, names in exposed_ports(installations).items()}
        ports |= member.tcp_ports
        ports[NODE_PORT] = "node exporter"  # a pod on the node's own network; Prometheus comes from another node
    if is_exporter(installations, node):
        ports[NFS_PORT] = "NFS"
    if not ports:
        return
    values = {"networking.firewall.allowedTCPPorts": sorted(ports)}
    comment = "; ".join(f"{port} {what}" for port, what in sorted(ports.items()))
    if member is not None:
        values["networking.firewall.allowedUDPPorts"] = [FLANNEL_PORT]
        comment += f"; {FLANNEL_PORT} flannel (VXLAN)"
    yield Part(comment=f"{comment}.", values=values)
