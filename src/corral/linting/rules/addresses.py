"""Addresses in settings: whether a Service stands behind them, in what is deployed together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.registry import Found, checks
from corral.linting.tree import Tree

_URL = re.compile(r"^(?:https?|postgresql|redis|ws)://(?:[^/@\s]*@)?(?P<host>[a-z0-9.-]+)(?::\d+)?(?:[/?]|$)")
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_CLUSTER_DOMAIN = (".svc", ".svc.cluster.local")


@checks("D05")
def dangling(scene: Scene) -> Iterator[Found]:
    """Look for URLs of settings whose host looks like a Service of a namespace of the files, and is none."""
    services: dict[str, set[str]] = defaultdict(set)
    for one in scene.of_kind("Service"):
        services[one.namespace].add(one.name or "")
    for tree, namespace, subject in _addresses(scene):
        match = _URL.match(tree.raw or "")
        if match is None:
            continue
        name, space = _split(match["host"], namespace)
        is_ours = name is not None and space in services and scene.is_whole and not _is_made(scene, name)
        if (
            is_ours
            and name not in _elsewhere(scene)
            and name not in services[space]
            and _has_relative(name or "", services[space])
        ):
            what = f"there is no Service {name!r} in {space!r} ({', '.join(sorted(services[space]))})"
            yield Found(place=tree.place, what=what, subject=subject)


@checks("D06")
def not_switched(scene: Scene) -> Iterator[Found]:
    """Look for hosts that are Services of the files, and not of what is deployed with the setting."""
    elsewhere = _elsewhere(scene)
    there = (
        {(one.namespace, one.name) for one in scene.of_kind("Service")} if elsewhere else set[tuple[str, str | None]]()
    )
    for tree, namespace, subject in _addresses(scene) if elsewhere and scene.is_whole else ():
        match = _URL.match(tree.raw or "")
        name, space = _split(match["host"], namespace) if match else (None, namespace)
        is_there = (space, name) in there or _is_made(scene, name)
        if name in elsewhere and space == namespace and not is_there:
            what = f"the Service {name!r} is in {elsewhere[name]}, and not in what this is deployed with"
            yield Found(place=tree.place, what=what, subject=subject)


def _elsewhere(scene: Scene) -> dict[str | None, str]:
    """Services of the files that this view does not have, with the file of each."""
    here = {name for one in scene.of_kind("Service") for name in (one.name, *one.was_called)}
    return {
        one.name: one.file
        for one in scene.written_objects
        if one.kind == "Service" and one.name and one.name not in here
    }


def _addresses(scene: Scene) -> Iterator[tuple[Tree, str, object]]:
    """Values of settings that may be addresses: of containers' variables and of ConfigMaps."""
    for one in scene.containers:
        for _, value in one.env:
            yield value, one.pod.owner.namespace, one.pod.owner
    for one in scene.of_kind("ConfigMap"):
        for _, value in one.tree["data"].items:
            yield value, one.namespace, one


def _split(host: str, namespace: str) -> tuple[str | None, str]:
    """The Service and the namespace that a host name means; None when it is a host elsewhere."""
    for domain in reversed(_CLUSTER_DOMAIN):
        host = host.removesuffix(domain)
    name, _, space = host.partition(".")
    if "." in space or not _SERVICE_NAME.fullmatch(name) or name == "localhost":
        return None, namespace
    return name, space or namespace


def _has_relative(name: str, services: set[str]) -> bool:
    """Tell whether a name has the first part of one that exists: names of strangers are not judged."""
    first = name.split("-", 1)[0]
    return any(other.split("-", 1)[0] == first for other in services)


def _is_made(scene: Scene, name: str | None) -> bool:
    """Tell whether an operator may make the Service: its name starts with that of an object of its own kind."""
    return any((name or "").startswith(one.name or "\n") for one in scene.custom_objects)
