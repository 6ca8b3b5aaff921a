"""systemd units: Corral's server on a machine without Kubernetes, and power limits where NixOS does not set them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from corral.cluster.values import ServiceKind
from corral.rendering.cards import limited_cards
from corral.rendering.installation import Installation
from corral.rendering.systemd import power, server
from corral.rendering.systems import runs_nixos


def files(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """The server's unit, unless a layout deploys the server; a unit of power limits for each node that needs one."""
    one = replace(installations[0], layout=None)
    written = {
        f"systemd/{node.name}/{power.UNIT}.service": power.service(one, node)
        for node in one.cluster.nodes
        if not runs_nixos(node) and limited_cards(node)
    }
    if not any(each.service.kind is ServiceKind.CORRAL for each in one.deployed):
        written |= {
            "systemd/corral.service": server.service(one),
            "systemd/corral.sysusers.conf": server.user(one),
        }
    return written
