"""Users, privileges and the profile of pods (Kubernetes, Pod Security Standards).

A container runs as another user than root wherever its image is known to have one. Files of volumes get that user's
group; a volume that belongs to another user and takes no group (NFS, `hostPath`) must let it write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from lightkube.models.core_v1 import Capabilities, EnvVar, PodSecurityContext, SeccompProfile, SecurityContext

from corral.rendering.installation import Deployed
from corral.rendering.makers import ACCESS
from corral.rendering.programs import mount_paths, program_of

BASELINE, RESTRICTED = "baseline", "restricted"


def find_user(deployed: Deployed) -> int | None:
    """Find the user that a container runs as; None leaves that to its image, which can be root."""
    program = program_of(deployed.service)
    if program.user is not None:
        return program.user
    return program.other_user if _can_be_other(deployed) else None


def locate_mounts(deployed: Deployed) -> dict[str, str]:
    """Locate a service's volumes in its container, where its user can reach them."""
    paths = dict(mount_paths(deployed.service, [storage.name for storage in deployed.storage]))
    program = program_of(deployed.service)
    if program.other_data_path is None or not _can_be_other(deployed):
        return paths
    return {name: program.other_data_path if path == program.data_path else path for name, path in paths.items()}


def list_user_settings(deployed: Deployed) -> list[EnvVar]:
    """List the setting with which a program finds the folder of a user that is not its image's own."""
    path = program_of(deployed.service).other_data_path
    if path is None or not _can_be_other(deployed) or "HOME" in deployed.env:
        return []
    return [EnvVar(name="HOME", value=str(PurePosixPath(path).parent))]


def opens_device_files(deployed: Deployed) -> bool:
    """Return whether a container opens device files as its host has them: those of AMD and Intel belong to a group."""
    return deployed.gpu_count > 0 and bool(ACCESS[deployed.maker].devices)


def build_pod_security(members: Sequence[Deployed]) -> PodSecurityContext:
    """Run as the user of all containers, where they have one; files on volumes get the group of the only known one."""
    users = {find_user(member) for member in members}
    user = next(iter(users)) if len(users) == 1 else None
    known = users - {None}
    group = next(iter(known)) if len(known) == 1 else None
    return PodSecurityContext(
        runAsNonRoot=True if user else None,
        runAsUser=user,
        fsGroup=group,
        fsGroupChangePolicy="OnRootMismatch" if group else None,
        seccompProfile=SeccompProfile(type="RuntimeDefault"),
    )


def build_security_context(
    members: Sequence[Deployed], deployed: Deployed, *, computes: bool = True
) -> SecurityContext:
    """As strict as a GPU allows: no privilege, and no capability; `computes` is False for containers without its GPU.

    NVIDIA's device files can be opened by all. Those of AMD and Intel belong to the groups video and render, whose
    numbers differ from system to system: root in the container opens them by DAC_OVERRIDE, which the profile
    `baseline` allows.
    """
    added = ["DAC_OVERRIDE"] if computes and opens_device_files(deployed) else None
    users = {find_user(member) for member in members}
    user = find_user(deployed) if len(users) > 1 else None  # else the pod's own
    return SecurityContext(
        runAsNonRoot=True if user else None,
        runAsUser=user,
        allowPrivilegeEscalation=False,
        capabilities=Capabilities(drop=["ALL"], add=added),
    )


def find_profile(pods: Iterable[Sequence[Deployed]]) -> str:
    """Find the strictest profile that pods hold to, each by its services."""
    members = [member for services in pods for member in services]
    holds = bool(members) and all(find_user(member) and not opens_device_files(member) for member in members)
    return RESTRICTED if holds else BASELINE


def _can_be_other(deployed: Deployed) -> bool:
    """Return whether a container can run as the other user of its image.

    Not where it opens device files as root, and not where the cluster file mounts a volume in the folder of root.
    """
    program = program_of(deployed.service)
    if program.other_user is None or opens_device_files(deployed):
        return False
    return not any(PurePosixPath(path).is_relative_to("/root") for path in deployed.service.mounts.values())
