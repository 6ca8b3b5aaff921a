"""K3s in a NixOS module, for a channel that has options for names and labels, and for one that has not."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from corral.cluster.values import K3sRole
from corral.rendering.k3s.members import Member
from corral.rendering.nixos.drivers import CDI_UNIT
from corral.rendering.nixos.expressions import Code, Value
from corral.rendering.nixos.modules import Part
from corral.rendering.systemd.units import word


class Channel(StrEnum):
    """What the NixOS module of K3s offers."""

    CURRENT = "25.11"
    """This and newer: `services.k3s.nodeName` and `nodeLabel` (nixos/modules/services/cluster/rancher)."""
    PREVIOUS = "25.05"
    """The same as flags (nixos/modules/services/cluster/k3s)."""


_RUNTIME = """pkgs.writeShellScriptBin "nvidia-container-runtime" ''
  exec ${pkgs.nvidia-container-toolkit.tools}/bin/nvidia-container-runtime.cdi "$@"
''"""


def k3s_parts(member: Member, channel: Channel, *, has_nvidia: bool, mounts_nfs: bool) -> Iterator[Part]:
    """The service, and what it finds on its path."""
    yield Part(
        comment=f"The token lies in {word(member.token_file)} (root, mode 0400; sops-nix or agenix write it there) and "
        "never in the Nix store, which everybody can read (pitfall F06).",
        values={"services.k3s": _service(member, channel)},
    )
    found: list[Value] = []
    if has_nvidia:
        found += [Code(_RUNTIME), Code("pkgs.runc")]
    if mounts_nfs:
        found.append(Code("pkgs.nfs-utils"))
    if not found:
        return
    unit: dict[str, Value] = {"path": found}
    if has_nvidia:
        unit |= {"after": [CDI_UNIT], "wants": [CDI_UNIT]}
    yield Part(comment=_WHY_PATH if has_nvidia else "", values={"systemd.services.k3s": unit})


_WHY_PATH = (
    "K3s looks for `nvidia-container-runtime` on the path of its service and makes the runtime `nvidia` of it, in the "
    "format of its own containerd (pitfalls F07, F08). What it finds is the toolkit's CDI runtime: the other one needs "
    "files at places that NixOS does not have. runc is what that runtime calls."
)


def _service(member: Member, channel: Channel) -> dict[str, Value]:
    service: dict[str, Value] = {"enable": True, "role": member.role.value, "tokenFile": word(member.token_file)}
    if member.joins is not None:
        service["serverAddr"] = word(member.joins)
    if member.begins:
        service["clusterInit"] = True
    flags: list[str] = []
    if channel is Channel.CURRENT:
        service["nodeName"] = member.node.name
        if member.labels:
            service["nodeLabel"] = list(member.labels)
    else:
        flags += [f"--node-name={member.node.name}", *(f"--node-label={label}" for label in member.labels)]
    flags += [f"--kubelet-arg={argument}" for argument in member.kubelet_arguments]
    if member.role is K3sRole.SERVER:
        flags += [f"--tls-san={name}" for name in member.certificate_names]
    if flags:
        service["extraFlags"] = flags
    return service
