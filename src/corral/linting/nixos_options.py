"""Options of NixOS that machines with GPUs use: those that exist, and what became of those that do not any more.

Read from nixpkgs' modules `hardware/graphics.nix`, `hardware/video/nvidia.nix`, `services/hardware/
nvidia-container-toolkit`, `services/misc/ollama.nix`, `services/cluster/rancher` and `virtualisation`, as of releases
24.11 to 26.05. Only options: packages and their names change too often to be listed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Change:
    """What became of an option."""

    release: str
    """The first release that has it no more, or warns of it."""
    instead: str
    """What to write in its place, as the end of a sentence."""
    still_works: bool = True
    """Whether NixOS only warns; else the configuration does not evaluate."""


_GRAPHICS = {
    f"hardware.opengl.{name}": Change("24.11", f"`hardware.graphics.{name}`")
    for name in ("enable", "package", "package32", "extraPackages", "extraPackages32")
}
_PRIME = {
    f"hardware.nvidia.optimus_prime.{name}": Change("20.03", f"`hardware.nvidia.prime.{new}`")
    for name, new in (
        ("enable", "sync.enable"),
        ("allowExternalGpu", "allowExternalGpu"),
        ("nvidiaBusId", "nvidiaBusId"),
        ("intelBusId", "intelBusId"),
    )
}
CHANGES: Mapping[str, Change] = MappingProxyType(
    {
        **_GRAPHICS,
        **_PRIME,
        "hardware.opengl.driSupport32Bit": Change("24.11", "`hardware.graphics.enable32Bit`"),
        "hardware.opengl.driSupport": Change("24.11", "nothing: it is always on", still_works=False),
        "services.xserver.vaapiDrivers": Change("24.11", "`hardware.graphics.extraPackages`"),
        "virtualisation.containers.cdi.dynamic.nvidia.enable": Change(
            "24.11", "`hardware.nvidia-container-toolkit.enable`"
        ),
        "virtualisation.docker.enableNvidia": Change("24.05", "`hardware.nvidia-container-toolkit.enable`"),
        "virtualisation.podman.enableNvidia": Change("24.05", "`hardware.nvidia-container-toolkit.enable`"),
        "services.ollama.listenAddress": Change(
            "24.11", "`services.ollama.host` and `services.ollama.port`", still_works=False
        ),
        "services.ollama.sandbox": Change(
            "24.11", "`services.ollama.user` and `services.ollama.group`", still_works=False
        ),
        "services.ollama.writablePaths": Change(
            "24.11", "`systemd.services.ollama.serviceConfig.ReadWritePaths`", still_works=False
        ),
        "services.k3s.docker": Change("23.11", "nothing: K3s runs with containerd", still_works=False),
    }
)
"""By path."""


def _name_options(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHUTDOWN = "gracefulNodeShutdown"
WHOLE_MODULES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "services.ollama": _name_options(
            "enable package user group home models host port acceleration rocmOverrideGfx environmentVariables "
            "loadModels syncModels openFirewall"
        ),
        "services.k3s": _name_options(
            "enable package role serverAddr token tokenFile agentToken agentTokenFile extraFlags environmentFile "
            "configPath disable nodeName nodeLabel nodeTaint nodeIP selinux manifests containerdConfigTemplate images "
            "extraKubeletConfig extraKubeProxyConfig autoDeployCharts charts clusterInit disableAgent"
        )
        | {f"{_SHUTDOWN}.{name}" for name in ("enable", "shutdownGracePeriod", "shutdownGracePeriodCriticalPods")},
        "hardware.graphics": _name_options("enable enable32Bit package package32 extraPackages extraPackages32"),
    }
)
"""Every option of some modules."""

KNOWN_OPTIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "hardware.nvidia": _name_options(
            "enabled package branch open gsp.enable modesetting.enable nvidiaSettings nvidiaPersistenced "
            "powerManagement.enable powerManagement.finegrained powerManagement.kernelSuspendNotifier "
            "prime.nvidiaBusId prime.intelBusId prime.amdgpuBusId prime.sync.enable prime.offload.enable "
            "prime.offload.enableOffloadCmd prime.offload.offloadCmdMainProgram prime.reverseSync.enable "
            "prime.reverseSync.setupCommands.enable prime.allowExternalGpu prime.batterySaverSpecialisation "
            "dynamicBoost.enable forceFullCompositionPipeline datacenter.enable datacenter.settings "
            "videoAcceleration"
        ),
        "hardware.nvidia-container-toolkit": _name_options(
            "enable package mounts extraArgs device-name-strategy csv-files discovery-mode mount-nvidia-executables "
            "mount-nvidia-docker-1-directories suppressNvidiaDriverAssertion enable-hooks disable-hooks"
        ),
    }
)
"""Options of modules of which not all are listed here: a path that is close to one of them is a slip."""
