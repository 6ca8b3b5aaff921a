"""The items of a migration checklist, and the forecasts and rendered files that they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from corral.planning.checklist.probes import Probe
from corral.planning.forecast import Forecast
from corral.rendering.configuration import UNKNOWN_CONFIGURATION, Configuration


class Phase(StrEnum):
    """The parts of a migration, in their order."""

    HARDWARE = "hardware"
    SOFTWARE = "software"
    WORKLOAD = "workload"
    DOCUMENTATION = "documentation"


class ItemKind(StrEnum):
    """Who answers an item."""

    AUTOMATIC = "automatic"
    """A look at the file, the machine or the cluster answers it."""
    COMMANDED = "commanded"
    """A command does it, once a person has agreed."""
    BY_HAND = "by hand"
    """A person does it and says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromFile:
    """The cluster file and the catalogue prove it already."""

    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that does the item; its exit code 0 is the evidence."""

    line: str
    """As it can be pasted into a shell on the machine where the checklist is run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What only a person can know."""

    text: str
    """Answered by yes when the item is done."""


Work = FromFile | Probe | Command | Question
"""What settles an item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to do or to check."""

    id: str
    """Stable: the same for the same upgrade, and for the same thing in another (`hardware.hydra-compute.cards`)."""
    phase: Phase
    title: str
    why: str
    """What goes wrong without it; with the reason, not a slogan."""
    work: Work
    node: str | None = None
    material: str | None = None
    """Lines to paste, such as a systemd unit."""

    @property
    def kind(self) -> ItemKind:
        """Who answers it."""
        match self.work:
            case Command():
                return ItemKind.COMMANDED
            case Question():
                return ItemKind.BY_HAND
            case _:
                return ItemKind.AUTOMATIC

    @property
    def task(self) -> str:
        """The command, the question, or the evidence that is needed, in one line."""
        match self.work:
            case Command(line=line):
                return line
            case Question(text=text):
                return text
            case FromFile(evidence=evidence):
                return evidence
            case _:
                return self.work.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """All items of one upgrade, in the order in which they are done."""

    cluster: str
    items: tuple[Item, ...]
    """Ids are unique; phases follow each other."""
    addresses: tuple[tuple[str, str | None], ...] = ()
    """The nodes that items are about, with how they are reached; None is the machine that runs the checklist."""

    def of(self, phase: Phase) -> tuple[Item, ...]:
        """List the items of one phase."""
        return tuple(item for item in self.items if item.phase is phase)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases that have items, in their order."""
        return tuple(phase for phase in Phase if self.of(phase))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Facts of both sides that are not in their files; empty where they are unknown."""

    forecasts: tuple[Forecast, ...] = ()
    """Of each workload by itself, after the upgrade."""
    before: Configuration = UNKNOWN_CONFIGURATION
    after: Configuration = UNKNOWN_CONFIGURATION


NOTHING_KNOWN = Outlook()
