"""Command lines as they can be pasted, and the systemd unit that sets power limits at each start."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from corral.cluster.values import K3sRole, Node
from corral.rendering.gpus import PERSISTENCE_UNIT, POWER_LIMIT_UNIT
from corral.rendering.nodes import FLAKE

DRAIN_TIMEOUT = "10m"
"""Ten times what a pod with a model in memory has to end (60 s here); a budget that lets none go is then reported."""


def on_node(node: Node, command: str) -> str:
    """Write a shell command that runs on a node; `-t`, since `sudo` can ask for a password."""
    return command if node.address is None else f"ssh -t {shlex.quote(node.address)} {shlex.quote(command)}"


def set_power_limit(node: Node, index: int, watts: int) -> str:
    """Set one GPU's power limit; always with `-i`, since without it every GPU of the machine gets it (C03)."""
    return on_node(node, f"sudo nvidia-smi -i {index} -pl {watts}")


def keep_driver_loaded(node: Node) -> str:
    """Keep the driver loaded, and with it the settings of the GPUs, while they are unused."""
    return on_node(node, "sudo systemctl enable --now nvidia-persistenced")


def rebuild(node: Node) -> str:
    """Apply the rendered flake to a NixOS node, in the folder that `corral render` wrote to."""
    if node.address is None:
        return f"sudo nixos-rebuild switch --flake {shlex.quote(f'./{PurePosixPath(FLAKE).parent}#{node.name}')}"
    return shlex.join(["colmena", "apply", "--config", FLAKE, "--on", node.name])


def restart_k3s(node: Node) -> str:
    """Restart K3s, which then sets the labels of its flags; its unit is `k3s` on a server, `k3s-agent` on an agent."""
    unit = "k3s" if node.k3s_role is K3sRole.SERVER else "k3s-agent"
    return on_node(node, f"sudo systemctl restart {unit}")


def load_test(node: Node, seconds: int) -> str:
    """Run the load test on a node that has an address; `corral` has to be installed there."""
    return on_node(node, f"corral loadtest --duration {seconds}s")


def drain(node: str) -> str:
    """Close a node for pods and let those on it go; DaemonSets stay, and scratch space is lost with its pod."""
    flags = ("--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={DRAIN_TIMEOUT}")
    return write_kubectl("drain", node, *flags)


def write_kubectl(*words: str) -> str:
    """Write a kubectl command about nodes, which are in no namespace."""
    return shlex.join(["kubectl", *words])


def write_power_limit_unit(limits_w: tuple[tuple[int, int], ...]) -> str:
    """Write the unit as a file for `/etc/systemd/system/`."""
    starts = "\n".join(f"ExecStart=/usr/bin/nvidia-smi -i {index} -pl {watts}" for index, watts in limits_w)
    return f"""\
# /etc/systemd/system/{POWER_LIMIT_UNIT}.service, then: sudo systemctl enable --now {POWER_LIMIT_UNIT}
[Unit]
Description=Power limits of the GPUs
Wants={PERSISTENCE_UNIT}
After={PERSISTENCE_UNIT}

[Service]
Type=oneshot
RemainAfterExit=yes
{starts}

[Install]
WantedBy=multi-user.target"""
