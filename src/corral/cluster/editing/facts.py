"""What was found on a machine, as a node's section can say it."""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Disk
from corral.units import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """One GPU of the machine."""

    index: int
    uuid: str | None = None
    model: str | None = None
    """The catalogue's name; None when it does not know the driver's name, or knows several such models."""
    driver_name: str | None = None
    memory: Bytes | None = None
    power_limit_w: int | None = None
    """The limit that somebody set; None when it is the card's own."""
    power_range_w: tuple[float, float] | None = None
    """The least and the most that its limit can be set to."""
    is_lost: bool = False
    """It does not answer: it fell off the bus, or the driver gives no handle to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """The machine; None is unknown."""

    name: str
    """Its host name, fitted to what the file takes as a name."""
    address: str | None = None
    addresses: tuple[str, ...] = ()
    """All that it is reached at, its host name included."""
    os: str | None = None
    cpu_model: str | None = None
    cpu_cores: int | None = None
    memory: Bytes | None = None
    memory_is_installed: bool = False
    """Whether `memory` is what is installed; else it is what the kernel manages, which is a few per cent less."""
    psu_w: int | None = None
    disks: tuple[Disk, ...] = ()
    gpus: tuple[CardFacts, ...] | None = None
    """None: the driver could not be asked."""
    gpus_unknown_because: str | None = None
