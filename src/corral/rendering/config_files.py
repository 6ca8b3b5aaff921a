"""Programs that are configured by files: which, in which folder of the container, and the command that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corral.cluster.values import ServiceKind
from corral.rendering.installation import Deployed, Installation, list_reached
from corral.rendering.litellm import FILE as LITELLM_FILE
from corral.rendering.litellm import Reach, render_router
from corral.rendering.nginx import FILE as NGINX_FILE
from corral.rendering.nginx import render_proxy
from corral.rendering.programs import program_of

CLUSTER_FILE = "cluster.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFiles:
    """The files of a program, in a folder of their own, and the command that makes it read them."""

    folder: str
    files: Mapping[str, str]
    command: tuple[str, ...] = ()
    """The command instead of the image's own entry point; empty keeps that."""
    args: tuple[str, ...] = ()


def render_config_files(
    installation: Installation, deployed: Deployed, reach: Reach | None = None, *, resolver: str | None = None
) -> ConfigFiles | None:
    """Render the files of a service; None when it has none.

    `reach` gives the addresses at which it reaches others (those of the cluster unless it is given), `resolver` the
    DNS server that nginx asks while it runs.
    """
    if reach is None:
        reach = lambda target: list_reached(installation, target, caller=deployed)  # noqa: E731 a default
    if deployed.service.kind is ServiceKind.LITELLM:
        return _render_litellm(installation, deployed, reach)
    if deployed.service.kind is ServiceKind.NGINX:
        return _render_nginx(installation, deployed, reach, resolver)
    return _render_corral(installation, deployed) if deployed.service.kind is ServiceKind.CORRAL else None


def _render_corral(installation: Installation, deployed: Deployed) -> ConfigFiles:
    """Corral's server reads the cluster file itself, and listens where others reach it: so it asks for tokens."""
    folder = "/etc/corral"
    address = ("--host", "0.0.0.0", "--port", str(deployed.port))
    data = ("--data-dir", program_of(deployed.service).data_path)
    command = ("corral", "up", "--cluster", f"{folder}/{CLUSTER_FILE}", *data, *address)
    return ConfigFiles(folder=folder, files={CLUSTER_FILE: installation.text}, command=command)


def _render_litellm(installation: Installation, deployed: Deployed, reach: Reach) -> ConfigFiles | None:
    text = render_router(installation, deployed, reach)
    if text is None:
        return None
    folder = "/etc/litellm"
    args = ("--config", f"{folder}/{LITELLM_FILE}", "--port", str(deployed.port))
    return ConfigFiles(folder=folder, files={LITELLM_FILE: text}, args=args)


def _render_nginx(installation: Installation, deployed: Deployed, reach: Reach, resolver: str | None) -> ConfigFiles:
    folder = "/etc/corral"
    text = render_proxy(installation, deployed, lambda target: next(iter(reach(target)), None), resolver=resolver)
    command = ("nginx", "-c", f"{folder}/{NGINX_FILE}", "-g", "daemon off;")
    return ConfigFiles(folder=folder, files={NGINX_FILE: text}, command=command)
