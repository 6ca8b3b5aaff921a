"""Load balancers of K3s: its own binds ports on every node, and gives way to no other by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.objects import Object
from corral.linting.registry import Found, checks
from corral.linting.rules.runtimes import is_k3s
from corral.linting.values import Place

_NO_SERVICELB = re.compile(
    r"disable[^\n]{0,200}servicelb|servicelb[^\n]{0,40}disable|^[ \t]*-[ \t]*servicelb\b", re.MULTILINE
)


@checks("D07")
def port_clash(scene: Scene) -> Iterator[Found]:
    """Look for LoadBalancer Services with the same port on K3s, unless another load balancer is used."""
    if not is_k3s(scene) or _has_other_balancer(scene):
        return
    taken: dict[tuple[str, str], Object] = {}
    for one in scene.of_kind("Service"):
        spec = one.tree["spec"]
        if spec["type"].raw != "LoadBalancer" or spec["loadBalancerClass"]:
            continue
        for port in spec["ports"].entries:
            key = (port["protocol"].raw or "TCP", port["port"].raw or "")
            other = taken.setdefault(key, one)
            same = (other.name, other.namespace) == (one.name, one.namespace)
            if not same and key[1]:
                yield Found(place=port["port"].place, what=f"port {key[1]} is also that of {other}", subject=one)


@checks("D08")
def two_balancers(scene: Scene) -> Iterator[Found]:
    """Look for objects of MetalLB beside a server of K3s that keeps its own."""
    pools = [one for one in scene.objects if one.group == "metallb.io"]
    if not pools or any(_NO_SERVICELB.search(text) for text in scene.sources.values()):
        return
    for place in _servers(scene):
        yield Found(place=place, what=f"K3s keeps its load balancer, and {pools[0]} is one of MetalLB")


def _servers(scene: Scene) -> Iterator[Place]:
    """Where a server of K3s is configured, in Nix."""
    for text, module in scene.modules:
        enabled, role = module.at("services.k3s.enable"), module.at("services.k3s.role")
        if enabled is not None and enabled.boolean and (role is None or role.text == "server"):
            yield text.place(enabled.offset)


def _has_other_balancer(scene: Scene) -> bool:
    """Tell whether something else than K3s' own hands out addresses."""
    others = any(one.group in ("metallb.io", "cilium.io", "kube-vip.io", "purelb.io") for one in scene.objects)
    return others or any(_NO_SERVICELB.search(text) for text in scene.sources.values())
