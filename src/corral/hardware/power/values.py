"""The power of a node, as values; every number with its origin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from corral.figures import Figure
from corral.hardware.makers import NVIDIA


class Verdict(StrEnum):
    """Whether something is sufficient."""

    OK = "ok"
    TIGHT = "tight"
    """It works, with less in reserve than is advised."""
    NOT_ENOUGH = "not enough"
    UNKNOWN = "unknown"
    """A fact that decides it is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict on one thing."""

    about: str
    """The thing: `power supply`, `transients`, `connectors`, `power limit of GPU 0`."""
    verdict: Verdict
    what: str
    """A sentence without its period: `750 W of 1000 W are 75 %`."""
    reason: str
    """The rule that decided, and where it is from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """Cables that a GPU asks the power supply for."""

    kind: str
    """`16-pin` (12V-2x6, 12VHPWR), `12-pin`, `8-pin`, `6-pin`, `8-pin EPS`."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyLimit:
    """A lower power limit of a GPU in some hours."""

    limit: Figure
    """In W."""
    hours: str
    """For people: `daily 22:00-07:00 (Europe/Berlin)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPower:
    """One GPU."""

    index: int
    model: str | None
    vendor: str | None = None
    """Its maker, as the catalogue has it; None when the model is not known."""
    boost_mhz: int | None = None
    """The clock that its maker states for load, in MHz."""
    is_module: bool = False
    """Whether it is one chip with the processor: its driver's tool is another."""
    tgp: Figure | None
    """Its power as its maker delivers it, in W; None when unknown."""
    limit: Figure | None
    """The limit that the cluster file sets, in W."""
    hourly_limits: tuple[HourlyLimit, ...] = ()
    """Its lower limits in some hours; figures of power count none of them."""
    speed_losses: tuple[Figure, ...] = ()
    """The highest cost of the limit in %, one for each kind of work that was measured on this model."""
    connectors: tuple[Connector, ...] | None = None
    """Those of the maker's reference board; empty when it needs none, None when the catalogue does not say."""
    slots: Figure | None = None
    """Slots of the case; None when the catalogue does not have it, or when it is not a graphics card."""
    length: Figure | None = None
    """In mm."""

    def limit_command(self, watts: float) -> str | None:
        """Write the command that sets a power limit; None for what is not a plug-in GPU of NVIDIA's."""
        is_plug_in = self.vendor == NVIDIA and not self.is_module
        return f"`nvidia-smi -i {self.index} -pl {watts:g}`" if is_plug_in else None

    @property
    def clock_command(self) -> str | None:
        """Write the command that holds its clock to what its maker states; None where either is unknown."""
        if self.vendor != NVIDIA or self.is_module or self.boost_mhz is None:
            return None
        return f"`nvidia-smi -i {self.index} -lgc 0,{self.boost_mhz}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A node at full load, either as its makers deliver the GPUs or with the limits of the cluster file."""

    gpus: Figure
    """W. A lower bound when a GPU's power is unknown (`NodePower.unknown`)."""
    system: Figure
    """W at the outputs of the power supply."""
    efficiency: Figure
    """% of the supply at that load, at least."""
    wall: Figure
    """W that the supply takes from the wall: the system's and its own loss."""
    psu_load: Figure | None
    """% of the supply's rating; None when that is not known."""
    gpu_current: Figure
    """A at 12 V."""
    system_current: Figure
    """A at 12 V if everything draws from that rail, which is close to the truth and never too low."""
    peak: Figure
    """W for about a millisecond, with every GPU at its excursion at once; a limit does not lower it, for it holds the
    mean of milliseconds (nvidia-smi, "power draw")."""
    margin: Figure | None
    """W that the supply can give for a millisecond beyond that peak; negative when it is short, None when unknown."""
    heat: Figure
    """BTU/h into the room, with the supply's loss."""
    energy: Figure
    """kWh at the wall in a night."""
    cost: Figure | None
    """The cost of that energy; None without a tariff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePower:
    """All of it for one node."""

    node: str
    gpus: tuple[GpuPower, ...]
    other: Figure
    """The power of the rest of the machine, in W."""
    psu: Figure | None
    """The supply's rating in W, when the file states it."""
    full: Draw
    """The most that it draws. Limits under the GPUs' power do not count: they go when the driver restarts (C01)."""
    limited: Draw | None
    """With the limits of the cluster file; None when it sets none."""
    recommended_psu: Figure | None
    """The smallest standard size in W; None when it would take more than the largest, when nothing is known, or when a
    GPU of it is not a graphics card: laptops and modules have supplies of their own."""
    catalogue_psu: Figure | None
    """The catalogue's suggestion for a machine with the most demanding of the GPUs alone, in W."""
    connectors: tuple[Connector, ...]
    """All that its GPUs ask for, as far as known."""
    slots: Figure | None
    """Slots that its GPUs cover together; None when one of them is unknown."""
    longest: Figure | None
    """The longest GPU in mm, as far as known."""
    judgements: tuple[Judgement, ...]
    verdict: Verdict
    """The worst of all judgements on whether the node has the power it needs."""
    conditions: tuple[str, ...] = ()
    """Further facts that the verdict rests on and the file does not state: `the supply has one 12 V rail`."""
    unknown: tuple[str, ...] = ()
    """GPUs whose power could not be counted, as sentences; with any, sums are lower bounds."""
    advice: tuple[str, ...] = ()
    """What to do, each an imperative."""


SUPPLY = "power supply"
TRANSIENTS = "transients"
SUGGESTION = "suggested supply"
RAILS = "12 V rails"
WIRING = "wiring"
"""Rails and cables of which the file says nothing: no verdict on the node rests on them but its condition."""
CIRCUIT = "circuit"
UPS = "UPS"
DECIDING = frozenset({SUPPLY, TRANSIENTS, SUGGESTION, RAILS, CIRCUIT, UPS})
"""The judgements that the verdict on a node is made of; the others are for the eye."""


def find_worst(judgements: Iterable[Judgement]) -> Verdict:
    """Return the worst verdict of the judgements that decide whether a node has the power it needs."""
    order = (Verdict.NOT_ENOUGH, Verdict.TIGHT, Verdict.UNKNOWN, Verdict.OK)
    deciding = [judgement.verdict for judgement in judgements if judgement.about in DECIDING]
    return min(deciding, key=order.index, default=Verdict.UNKNOWN)
