"""The NVIDIA driver of a node, its container toolkit, and the power limits of its GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corral.cluster.values import Node
from corral.hardware.makers import AMD, INTEL, find_maker
from corral.hardware.nvidia_drivers import ONLY_OPEN_SINCE, OPEN_SINCE, find_generation
from corral.rendering.gpus import (
    PERSISTENCE_UNIT,
    POWER_LIMIT_UNIT,
    NvidiaGpu,
    list_limited_gpus,
    list_nvidia_gpus,
)
from corral.rendering.nixos.expressions import Code, Lines, Part
from corral.rendering.power_hours import list_changes, list_windows, write_script

CDI_UNIT = "nvidia-container-toolkit-cdi-generator.service"
_OLDEST_BRANCH = 470
"""The oldest branch that the container toolkit still runs with."""


def list_driver_parts(node: Node) -> Iterator[Part]:
    """The drivers and NVIDIA's toolkit; nothing for a node without a GPU."""
    gpus = list_nvidia_gpus(node)
    others = sorted({maker for gpu in node.gpus or () if (maker := find_maker(gpu)) in (AMD, INTEL)})
    if others:
        yield Part(
            comment=f"{' and '.join(others)}: the kernel drives them, with firmware that is not free software.",
            values={"hardware.enableRedistributableFirmware": True}
            | ({} if gpus else {"hardware.graphics.enable": True}),
        )
    if not gpus:
        return
    yield Part(
        comment="NVIDIA's driver is not free software: only it is allowed. A predicate elsewhere replaces this one.",
        values={
            "nixpkgs.config.allowUnfreePredicate": Code('pkg: lib.hasPrefix "nvidia-" (lib.getName pkg)'),
        },
    )
    yield Part(
        comment=f"{', '.join(dict.fromkeys(gpu.name for gpu in gpus))}. "
        "`videoDrivers` is what turns the driver on; it starts no display.",
        values={
            "services.xserver.videoDrivers": ["nvidia"],
            "hardware.graphics.enable": True,
            "boot.kernelModules": ["nvidia", "nvidia_uvm"],
            "hardware.nvidia": {**_choose_driver(gpus), "nvidiaPersistenced": True, "nvidiaSettings": False},
        },
    )
    if _needs_new_driver(gpus):
        yield _build_driver_assertion()
    yield Part(
        comment="Names by UUID: the device plugin asks for GPUs by UUID, and would not find `index`, the default "
        "(pitfall F10).",
        values={"hardware.nvidia-container-toolkit": {"enable": True, "device-name-strategy": "uuid"}},
    )


def list_power_parts(node: Node) -> Iterator[Part]:
    """One unit for all limits of a node; if one GPU refuses its limit, the others still get theirs."""
    gpus = list_limited_gpus(node)
    if not gpus:
        return
    changes = list_changes(list_windows(gpus))
    yield Part(
        comment="Each load of the driver resets the limits: set after the daemon that keeps it loaded, and again with "
        "it (pitfall C01). A limit caps; it is not an undervolt (pitfall C03).",
        values={
            f"systemd.services.{POWER_LIMIT_UNIT}": {
                "description": "Power limits of GPUs, from the cluster file",
                "after": [PERSISTENCE_UNIT],
                "wants": [PERSISTENCE_UNIT],
                "partOf": [PERSISTENCE_UNIT],
                "before": ["k3s.service"],
                "wantedBy": ["multi-user.target", PERSISTENCE_UNIT],
                "path": [Code("lib.getBin config.hardware.nvidia.package")],
                # A unit that stays active is not started again by its timer.
                "serviceConfig": {"Type": "oneshot", "RemainAfterExit": True} if not changes else {"Type": "oneshot"},
                "script": Lines(write_script(gpus, "nvidia-smi")),
                **({"startAt": list(changes)} if changes else {}),
            }
        },
    )


def list_driver_notes(node: Node) -> Iterator[str]:
    """Unknown facts about the driver, and GPUs that no driver can serve together."""
    if node.gpus is None:
        yield "Its GPUs are not known yet (`corral inventory`): no driver is configured."
        return
    gpus = list_nvidia_gpus(node)
    unknown = [gpu.name for gpu in gpus if gpu.capability is None]
    if unknown:
        yield f"The file does not name the model of {', '.join(unknown)}: assumed NVIDIA's, of Turing or newer."
    old = [gpu.name for gpu in gpus if gpu.capability and gpu.capability < OPEN_SINCE]
    new = [gpu.name for gpu in gpus if gpu.capability and gpu.capability >= ONLY_OPEN_SINCE]
    if old and new:
        yield f"{old[0]} needs the closed kernel modules and {new[0]} the open ones: {old[0]} gets no driver."


def _choose_driver(gpus: Sequence[NvidiaGpu]) -> dict[str, bool | Code]:
    """The kernel modules, open if they can drive the GPUs, and the driver's branch if the newest does not."""
    capabilities = [gpu.capability for gpu in gpus if gpu.capability is not None]
    oldest = min(capabilities, default=None)
    # Blackwell has open modules only: on a node with both, the old GPU is the one that gets no driver.
    if oldest is None or oldest >= OPEN_SINCE or _needs_new_driver(gpus):
        return {"open": True}
    generation = find_generation(oldest)
    branch = (generation.last_branch if generation else None) or _OLDEST_BRANCH
    drivers = "config.boot.kernelPackages.nvidiaPackages"
    return {"open": False, "package": Code(f"{drivers}.legacy_{branch} or {drivers}.stable")}


def _needs_new_driver(gpus: Sequence[NvidiaGpu]) -> bool:
    return any(gpu.capability is not None and gpu.capability >= ONLY_OPEN_SINCE for gpu in gpus)


def _build_driver_assertion() -> Part:
    blackwell = find_generation(ONLY_OPEN_SINCE)
    assert blackwell is not None, "Blackwell is a generation"
    message = f"Blackwell GPUs need driver {blackwell.first_branch} or newer; set hardware.nvidia.package."
    condition = f'lib.versionAtLeast config.hardware.nvidia.package.version "{blackwell.first_branch}"'
    return Part(
        comment="",
        values={"assertions": [{"assertion": Code(condition), "message": message}]},
    )
