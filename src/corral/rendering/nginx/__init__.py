"""nginx's configuration: the page, and behind it, at `/api/`, the services that a service of kind nginx calls."""

from __future__ import annotations

from collections.abc import Mapping

from corral.cluster.values import ServiceKind
from corral.rendering.installation import Deployed, Installation, addresses_of
from corral.rendering.nginx.proxy import Reach, configuration

FILE = "nginx.conf"


def files(installation: Installation) -> Mapping[str, str]:
    """The configuration of each nginx of a layout."""
    return {
        f"nginx/{installation.name}/{one.service.name}.conf": text(installation, one)
        for one in installation.deployed
        if one.service.kind is ServiceKind.NGINX
    }


def text(installation: Installation, one: Deployed, reach: Reach | None = None, *, resolver: str | None = None) -> str:
    """The whole `nginx.conf` of a service.

    `reach` says at which address nginx reaches a service; that of the cluster unless it is given. With a `resolver`
    addresses are looked up while it runs, for networks in which they change.
    """
    in_cluster: Reach = lambda target: next(iter(addresses_of(target, caller=one)), None)  # noqa: E731 a default
    return configuration(installation, one, reach or in_cluster, resolver=resolver)
