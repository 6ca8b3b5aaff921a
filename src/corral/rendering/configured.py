"""Programs that are configured by a file: which, where it lies in the container, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corral.cluster.values import ServiceKind
from corral.rendering import litellm, nginx
from corral.rendering.installation import Deployed, Installation, addresses_of
from corral.rendering.litellm.groups import Reach
from corral.rendering.programs import program_of

CLUSTER_FILE = "cluster.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The files of a program, in a folder of their own, and the words that make it read them."""

    folder: str
    files: Mapping[str, str]
    command: tuple[str, ...] = ()
    """What is started instead of the image's own entry point; empty keeps that."""
    args: tuple[str, ...] = ()


def configured(
    installation: Installation, one: Deployed, reach: Reach | None = None, *, resolver: str | None = None
) -> Configured | None:
    """The files of a service; None when it has none.

    `reach` says at which addresses it reaches others, `resolver` which DNS server nginx asks while it runs.
    """
    if reach is None:
        return configured(installation, one, lambda target: addresses_of(target, caller=one), resolver=resolver)
    if one.service.kind is ServiceKind.LITELLM:
        return _litellm(installation, one, reach)
    if one.service.kind is ServiceKind.NGINX:
        return _nginx(installation, one, reach, resolver)
    return _corral(installation, one) if one.service.kind is ServiceKind.CORRAL else None


def _corral(installation: Installation, one: Deployed) -> Configured:
    """Corral's server reads the cluster file itself, and listens where others reach it: so it asks for tokens."""
    folder = "/etc/corral"
    where = ("--host", "0.0.0.0", "--port", str(one.port))
    data = ("--data-dir", program_of(one.service).data_path)
    command = ("corral", "up", "--cluster", f"{folder}/{CLUSTER_FILE}", *data, *where)
    return Configured(folder=folder, files={CLUSTER_FILE: installation.text}, command=command)


def _litellm(installation: Installation, one: Deployed, reach: Reach) -> Configured | None:
    text = litellm.configuration(installation, one, reach)
    if text is None:
        return None
    folder = "/etc/litellm"
    args = ("--config", f"{folder}/{litellm.FILE}", "--port", str(one.port))
    return Configured(folder=folder, files={litellm.FILE: text}, args=args)


def _nginx(installation: Installation, one: Deployed, reach: Reach, resolver: str | None) -> Configured:
    folder = "/etc/corral"
    text = nginx.text(installation, one, lambda target: next(iter(reach(target)), None), resolver=resolver)
    command = ("nginx", "-c", f"{folder}/{nginx.FILE}", "-g", "daemon off;")
    return Configured(folder=folder, files={nginx.FILE: text}, command=command)
