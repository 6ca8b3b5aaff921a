"""ConfigMaps: the settings and the configuration files of the services of a pod.

Files are mounted as a folder, so that a change reaches the pod (pitfall G09).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import ConfigMapVolumeSource, Volume, VolumeMount
from lightkube.resources.core_v1 import ConfigMap

from corral.rendering.config_files import ConfigFiles, render_config_files
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.objects import make_metadata
from corral.rendering.names import add_suffix

ProgramFiles = Mapping[str, ConfigFiles]
"""The configuration files of programs, by the name of their service."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCommand:
    """The command and the arguments of a container; empty for those of its image."""

    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


def render_program_files(installation: Installation) -> ProgramFiles:
    """Render the configuration files of a layout's programs."""
    files = {deployed.service.name: render_config_files(installation, deployed) for deployed in installation.deployed}
    return {name: configuration for name, configuration in files.items() if configuration is not None}


def choose_start_command(deployed: Deployed, files: ProgramFiles) -> StartCommand:
    """The command in the cluster file, else one with which the program reads its files."""
    if deployed.service.command:
        return StartCommand(command=deployed.service.command)
    configuration = files.get(deployed.service.name)
    if configuration is None:
        return StartCommand()
    return StartCommand(command=configuration.command, args=configuration.args)


def list_variables(deployed: Deployed) -> dict[str, str]:
    """The settings of a service whose names an environment variable can have; addresses lead to doors."""
    settings = {**deployed.env, **deployed.through_doors}
    return {name: value for name, value in settings.items() if _VARIABLE.fullmatch(name)}


def name_settings(deployed: Deployed) -> str:
    """Name the ConfigMap with the settings of a service."""
    return deployed.config_map or add_suffix(deployed.name, "config")


def build_config_maps(installation: Installation, members: Sequence[Deployed], files: ProgramFiles) -> list[ConfigMap]:
    """The settings of each service of a pod, then the files."""
    settings = [
        ConfigMap(
            metadata=make_metadata(installation, name_settings(member), member.namespace),
            data=dict(sorted(list_variables(member).items())),
        )
        for member in members
        if list_variables(member)
    ]
    texts = [
        ConfigMap(
            metadata=make_metadata(installation, _name_files(member), member.namespace), data=dict(configuration.files)
        )
        for member in members
        if (configuration := files.get(member.service.name)) is not None
    ]
    return [*settings, *texts]


def build_file_volumes(members: Sequence[Deployed], files: ProgramFiles) -> list[Volume]:
    """The volumes of a pod that hold the files."""
    return [
        Volume(name=_name_files(member), configMap=ConfigMapVolumeSource(name=_name_files(member)))
        for member in members
        if member.service.name in files
    ]


def build_file_mounts(deployed: Deployed, files: ProgramFiles) -> list[VolumeMount]:
    """The mount of a service's files in its container."""
    configuration = files.get(deployed.service.name)
    if configuration is None:
        return []
    return [VolumeMount(name=_name_files(deployed), mountPath=configuration.folder, readOnly=True)]


def compute_config_digest(members: Sequence[Deployed], files: ProgramFiles) -> str:
    """A digest of all settings and files of a pod; empty if it has none.

    In an annotation of the pod it restarts pods when one changes: a running pod would not see the change.
    """
    settings = {member.name: list_variables(member) | _list_files_without_comments(member, files) for member in members}
    known = {name: values for name, values in settings.items() if values}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16] if known else ""


def _list_files_without_comments(deployed: Deployed, files: ProgramFiles) -> dict[str, str]:
    """The lines that matter to the program: the headers change with every change of the cluster file."""
    configuration = files.get(deployed.service.name)
    if configuration is None:
        return {}
    return {
        name: "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        for name, text in configuration.files.items()
    }


def _name_files(deployed: Deployed) -> str:
    return add_suffix(deployed.name, "files")
