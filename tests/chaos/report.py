"""What a storm showed, and how long things took in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from chaos.killer import Kill
from chaos.verdict import Findings, Line
from corral.work import SlotId, device_of


@dataclass(slots=True)
class Report:
    """What a storm showed."""

    seed: int
    disk_is_small: bool
    """Whether the data directory was on a disk that could be filled."""
    kills: list[Kill] = field(default_factory=list[Kill])
    findings: Findings = field(default_factory=Findings)
    problems: list[str] = field(default_factory=list[str])
    starts: dict[str, int] = field(default_factory=dict[str, int])
    storm_s: float = 0.0
    drain_s: float = 0.0
    requests: int = 0

    def recovery_s(self, kind: str) -> list[float]:
        """Return how long it took after kills of a kind until work started again (on that slot, where it is known).

        Where another kill came before that, it is the other's time.
        """
        starts = [line for line in self.findings.lines if line.kind == "leased"]
        seconds: list[float] = []
        for kill, following in zip(self.kills, [*self.kills[1:], None], strict=True):
            start = next((line.at for line in starts if line.at > kill.at and _is_of(line, kill)), None)
            if kill.kind == kind and start is not None and (following is None or start < following.at):
                seconds.append((start - kill.at).total_seconds())
        return seconds

    @property
    def standstill_s(self) -> float:
        """How long the longest time was in which no attempt started or ended, whatever was killed meanwhile."""
        at = [line.at for line in self.findings.lines]
        return max((later - earlier).total_seconds() for earlier, later in pairwise(at))


def _is_of(line: Line, kill: Kill) -> bool:
    return kill.slot is None or kill.slot in {device_of(SlotId(slot)) for slot in line.data["slots"]}
