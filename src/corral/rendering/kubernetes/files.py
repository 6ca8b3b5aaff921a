"""Configuration files of programs: a ConfigMap, mounted as a folder so that a change reaches the pod (pitfall G09)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import ConfigMapVolumeSource, Volume, VolumeMount
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from corral.rendering.configured import configured
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.naming import labels_of
from corral.rendering.names import with_suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How a container is started; empty is what its image says."""

    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


def words(installation: Installation, one: Deployed) -> Words:
    """The command of the cluster file, else the one that makes the program read its files."""
    found = configured(installation, one)
    if one.service.command or found is None:
        return Words(command=one.service.command)
    return Words(command=found.command, args=found.args)


def config_maps(installation: Installation, members: Sequence[Deployed]) -> list[ConfigMap]:
    """The files of each service of a pod."""
    return [
        ConfigMap(
            metadata=ObjectMeta(name=_name(one), namespace=one.namespace, labels=labels_of(installation, _name(one))),
            data=dict(found.files),
        )
        for one in members
        if (found := configured(installation, one)) is not None
    ]


def volumes(installation: Installation, members: Sequence[Deployed]) -> list[Volume]:
    """The volumes that hold these files."""
    return [
        Volume(name=_name(one), configMap=ConfigMapVolumeSource(name=_name(one)))
        for one in members
        if configured(installation, one) is not None
    ]


def mounts(installation: Installation, one: Deployed) -> list[VolumeMount]:
    """Where a service finds its files."""
    found = configured(installation, one)
    return [] if found is None else [VolumeMount(name=_name(one), mountPath=found.folder, readOnly=True)]


def without_comments(installation: Installation, one: Deployed) -> dict[str, str]:
    """The files as far as they matter to the program: their headers change with every change of the cluster file."""
    found = configured(installation, one)
    texts = {} if found is None else dict(found.files)
    return {name: _without_comments(text) for name, text in texts.items()}


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def _name(one: Deployed) -> str:
    return with_suffix(one.name, "files")
