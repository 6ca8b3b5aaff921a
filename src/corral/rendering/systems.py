"""What a node's operating system means to those who write for it."""

from __future__ import annotations

from corral.cluster.values import Node

_NIXOS = "nixos"
"""As `ID` of /etc/os-release has it."""


def runs_nixos(node: Node) -> bool:
    """Tell whether a node's system is NixOS, however it is spelled."""
    return node.os is not None and node.os.lower() == _NIXOS
