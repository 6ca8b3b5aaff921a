"""Checks of `gateway` that no single field shows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from corral.cluster.checks import References
from corral.cluster.document import YamlPath
from corral.cluster.gateway_shapes import FrontendShape, GatewayShape, ListenerShape

LOCAL_OWNER = "local"
"""The owner of requests of this machine, who is an administrator."""


def check_gateway(references: References) -> None:
    """Check that every listener has a port of its own and none speaks for the administrator, and names of models."""
    gateway = references.shape.gateway
    if gateway is None:
        return
    _check_models(gateway, references)
    doors = list(_list_doors(gateway))
    ports = [(("gateway", name, "port"), str(door.port)) for name, door in doors]
    references.check_unique(ports, "a listener", what="port")
    for name, door in doors:
        at = ("gateway", name)
        _check_free(door.port, (*at, "port"), references)
        if isinstance(door, FrontendShape):
            continue
        if door.owner == LOCAL_OWNER:
            what = f"`{LOCAL_OWNER}` is the administrator on this machine, and a listener speaks for a submitter"
            references.report_conflict(what, (*at, "owner"), "name another owner, such as `family`")


def _check_models(gateway: GatewayShape, references: References) -> None:
    """Check that a name means one model, and that a model of images has no provider of texts."""
    names = [(("gateway", "models", name), name) for name in gateway.models]
    for name, model in gateway.models.items():
        at = ("gateway", "models", name)
        names += [((*at, "aliases", number), alias) for number, alias in enumerate(model.aliases)]
        if model.workflow is not None and model.fallback:
            what = "a model has a workflow for its images or providers elsewhere for its texts, not both"
            references.report_conflict(what, (*at, "fallback"), "remove one of the two, or name two models")
        if not model.fallback and model.fallback_after is not None:
            what = "`fallbackAfter` says when `fallback` is used, and there is none"
            references.report_conflict(what, (*at, "fallbackAfter"), "add `fallback`, or remove this")
    references.check_unique(names, "a model of the gateway")


def _list_doors(gateway: GatewayShape) -> Iterator[tuple[str, ListenerShape | FrontendShape]]:
    for name in GatewayShape.model_fields:
        door = getattr(gateway, name)
        if isinstance(door, ListenerShape | FrontendShape):
            yield name, door


def _check_free(port: int, at: YamlPath, references: References) -> None:
    """Check that no instance on this machine is at a listener's port."""
    for engine, settings in references.shape.engines.items():
        for instance in settings.instances if settings is not None else ():
            own = instance.run.port if instance.run is not None else _find_local_port(instance.url)
            if own == port:
                what = f"the instance {instance.name!r} of {engine} is at port {port} of this machine"
                hint = "give the listener or the instance another port, such as `OLLAMA_HOST=127.0.0.1:11435`"
                references.report_conflict(what, at, hint)


def _find_local_port(url: str | None) -> int | None:
    """Find the port of a URL on this machine; None for others, and where a name has to be looked up."""
    parts = urlsplit(url or "")
    host = parts.hostname or ""
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return None
    return (parts.port or (443 if parts.scheme == "https" else 80)) if is_here else None
