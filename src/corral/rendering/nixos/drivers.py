"""The NVIDIA driver of a node, its container toolkit, and the power limits of its cards."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from corral.cluster.values import Node
from corral.rendering.cards import (
    ONLY_OPEN_SINCE,
    OPEN_SINCE,
    Card,
    limited_cards,
    nvidia_cards,
    power_command,
)
from corral.rendering.nixos.expressions import Code, Lines
from corral.rendering.nixos.modules import Part
from corral.rendering.systemd.power import PERSISTENCE_UNIT, UNIT

CDI_UNIT = "nvidia-container-toolkit-cdi-generator.service"
_BLACKWELL_DRIVER = "570"
_MAXWELL = (5, 0)
_OLD_DRIVERS = ((_MAXWELL, "legacy_580"), ((3, 5), "legacy_470"))
"""The last branch of the driver for cards from a CUDA capability on, where the newest has left them behind."""


def driver_parts(node: Node) -> Iterator[Part]:
    """The driver and the toolkit; nothing where no card is or may be NVIDIA's."""
    cards = nvidia_cards(node)
    if not cards:
        return
    yield Part(
        comment="NVIDIA's driver is not free software: it alone is allowed. A predicate elsewhere replaces this one.",
        values={
            "nixpkgs.config.allowUnfreePredicate": Code('pkg: lib.hasPrefix "nvidia-" (lib.getName pkg)'),
        },
    )
    yield Part(
        comment=f"{', '.join(dict.fromkeys(card.name for card in cards))}. "
        "`videoDrivers` is what turns the driver on; it starts no display.",
        values={
            "services.xserver.videoDrivers": ["nvidia"],
            "hardware.graphics.enable": True,
            "boot.kernelModules": ["nvidia", "nvidia_uvm"],
            "hardware.nvidia": {**_flavour(cards), "nvidiaPersistenced": True, "nvidiaSettings": False},
        },
    )
    if _needs_new_driver(cards):
        yield _driver_assertion()
    yield Part(
        comment="Names by UUID: the device plugin asks for cards so, and `index`, the default, would not be found "
        "(pitfall F10).",
        values={"hardware.nvidia-container-toolkit": {"enable": True, "device-name-strategy": "uuid"}},
    )


def power_parts(node: Node) -> Iterator[Part]:
    """One unit for all limits of a node; a card that refuses its own leaves the others theirs."""
    cards = limited_cards(node)
    if not cards:
        return
    commands = [f"nvidia-smi {shlex.join(power_command(card))} || failed=1\n" for card in cards]
    yield Part(
        comment="Limits are forgotten with each load of the driver: set after the daemon that keeps it loaded, and "
        "again with it (pitfall C01). A limit caps; it is no undervolt (pitfall C03).",
        values={
            f"systemd.services.{UNIT}": {
                "description": "Power limits of GPUs, from the cluster file",
                "after": [PERSISTENCE_UNIT],
                "wants": [PERSISTENCE_UNIT],
                "partOf": [PERSISTENCE_UNIT],
                "before": ["k3s.service"],
                "wantedBy": ["multi-user.target", PERSISTENCE_UNIT],
                "path": [Code("lib.getBin config.hardware.nvidia.package")],
                "serviceConfig": {"Type": "oneshot", "RemainAfterExit": True},
                "script": Lines("".join(("failed=0\n", *commands, 'exit "$failed"\n'))),
            }
        },
    )


def driver_notes(node: Node) -> Iterator[str]:
    """What cannot be said of the driver, and what cannot work."""
    if node.gpus is None:
        yield "Its GPUs are yet to be found (`corral inventory`): no driver is asked for."
        return
    cards = nvidia_cards(node)
    unknown = [card.name for card in cards if card.capability is None]
    if unknown:
        names = ", ".join(unknown)
        yield f"Of which model {names} is, the file does not say: taken for NVIDIA's, of Turing or newer."
    old = [card.name for card in cards if card.capability and card.capability < OPEN_SINCE]
    new = [card.name for card in cards if card.capability and card.capability >= ONLY_OPEN_SINCE]
    if old and new:
        yield f"{old[0]} needs the closed kernel modules and {new[0]} the open ones: {old[0]} gets no driver."


def _flavour(cards: Sequence[Card]) -> dict[str, bool | Code]:
    """The kernel modules, open wherever they drive the cards, and the driver's branch where the newest does not."""
    capabilities = [card.capability for card in cards if card.capability is not None]
    oldest = min(capabilities, default=None)
    if oldest is None or oldest >= OPEN_SINCE or _needs_new_driver(cards):
        return {"open": True}
    branch = next((name for since, name in _OLD_DRIVERS if oldest >= since), _OLD_DRIVERS[-1][1])
    drivers = "config.boot.kernelPackages.nvidiaPackages"
    return {"open": False, "package": Code(f"{drivers}.{branch} or {drivers}.stable")}


def _needs_new_driver(cards: Sequence[Card]) -> bool:
    return any(card.capability is not None and card.capability >= ONLY_OPEN_SINCE for card in cards)


def _driver_assertion() -> Part:
    message = f"Blackwell cards need driver {_BLACKWELL_DRIVER} or newer; set hardware.nvidia.package."
    condition = f'lib.versionAtLeast config.hardware.nvidia.package.version "{_BLACKWELL_DRIVER}"'
    return Part(
        comment="",
        values={"assertions": [{"assertion": Code(condition), "message": message}]},
    )
