"""The shape of a node in a cluster file: its GPUs, processor, power supply and drives; and the base of all shapes."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from corral.cluster.fields import (
    Count,
    DayHours,
    Duration,
    GpuUuid,
    Host,
    Index,
    LabelKey,
    LabelValue,
    Name,
    Percent,
    Size,
    Text,
    Watts,
    wrong,
)
from corral.cluster.values import K3sRole
from corral.hours import DAYS


class Shape(BaseModel):
    """Base of every mapping of the file: camelCase keys, and no others."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True)


class WeekShape(Shape):
    """Hours by the days of a week; the narrowest name counts for a day, and a day without has none.

    A span belongs to the day on which it begins: Friday's `22:00-17:00` ends on Saturday.
    """

    daily: DayHours | None = Field(None, description='Of every day: `"22:00-17:00"`, or several with commas.')
    weekdays: DayHours | None = Field(None, description="Of Monday to Friday.")
    weekends: DayHours | None = Field(None, description="Of Saturday and Sunday.")
    monday: DayHours | None = Field(None, description="Of this day; `closed` where nothing opens on it.")
    tuesday: DayHours | None = Field(None, description="Of this day.")
    wednesday: DayHours | None = Field(None, description="Of this day.")
    thursday: DayHours | None = Field(None, description="Of this day.")
    friday: DayHours | None = Field(None, description="Of this day.")
    saturday: DayHours | None = Field(None, description="Of this day.")
    sunday: DayHours | None = Field(None, description="Of this day.")

    @property
    def days(self) -> dict[str, DayHours]:
        """The hours by the names of days that are written."""
        names = ("daily", "weekdays", "weekends", *DAYS)
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @model_validator(mode="after")
    def _check_days(self) -> Self:
        if not any(self.days.values()):
            raise wrong("no day has hours, so they would never begin", 'write hours, such as daily: "22:00-07:00"')
        return self


class HoursShape(WeekShape):
    """When tasks can start, by the days of a week."""

    interrupt: bool = Field(
        False,
        strict=True,
        description="Whether a task that still runs at the end is interrupted and goes back to the queue. Without it, "
        "a task starts only if it is expected to end before, and one that is late goes on to its end.",
    )
    guests: bool = Field(
        False, strict=True, description="Whether requests through the gateway are served outside of these hours too."
    )


class OthersUseShape(Shape):
    """How much programs outside of Corral compute on a GPU before it yields."""

    above: Percent = Field(description="The share of the time in which they compute together: `20%`.")
    lasting: Duration = Field(timedelta(seconds=30), alias="for", description="For how long, without a break.")


class YieldToShape(Shape):
    """The programs and users that get a GPU as soon as they use it."""

    programs: tuple[Text, ...] = Field(
        (), description="Names of programs: `steam`, `game.x86_64`; of the file or the command, in any case."
    )
    users: tuple[Text, ...] = Field((), description="Names of users, whatever they run on it.")
    others: OthersUseShape | None = Field(None, description="Any program outside of Corral that computes much.")
    interrupt_after: Duration | None = Field(
        None,
        description="How long tasks can go on; then they are interrupted, and tried again later. Left out: to their "
        "end.",
    )
    quiet: Duration = Field(
        timedelta(minutes=5), description="How long none of them must use it before it takes tasks again."
    )


class PowerWindowShape(Shape):
    """Hours in which a GPU has a lower power limit: a quiet night."""

    watts: Watts = Field(description="The power limit in these hours; at most the GPU's `powerLimit`.")
    hours: WeekShape = Field(description="The hours.")


class GpuShape(Shape):
    """A GPU of a node."""

    model: Text | None = Field(None, description="The model in its maker's spelling: `RTX 5070 Ti`, `RTX 3060 12GB`.")
    index: Index | None = Field(
        None, description="Its number in the node, as the driver counts. Default: its place in this list."
    )
    uuid: GpuUuid | None = Field(None, description="The UUID that `nvidia-smi -L` prints, in whatever PCIe slot.")
    memory: Size | None = Field(None, description="VRAM. Default: the catalogue's figure for the model.")
    power_limit: Watts | None = Field(None, description="The power limit to set, in watts.")
    power_hours: tuple[PowerWindowShape, ...] = Field(
        (),
        description="Hours with lower limits; of those that overlap the first counts, outside of all `powerLimit`.",
    )
    hours: HoursShape | None = Field(
        None, description="When tasks can start on it. Default: the hours of its node; without any, always."
    )
    yield_to: YieldToShape | None = Field(
        None, description="Programs and users that it is given to while they use it. Left out: none."
    )

    @model_validator(mode="after")
    def _check_power_hours(self) -> Self:
        """Figures of power count the limit outside of all windows as the most that a GPU draws."""
        most = max((window.watts for window in self.power_hours), default=None)
        if most is not None and self.power_limit is None:
            raise wrong("`powerHours` without a `powerLimit`", "write `powerLimit`, the limit at all other times")
        if most is not None and self.power_limit is not None and most > self.power_limit:
            raise wrong(
                f"`powerHours` has a limit of {most} W, above the `powerLimit` of {self.power_limit} W",
                f"write at most {self.power_limit}, or raise `powerLimit` and lower it in the other hours",
            )
        return self


class CpuShape(Shape):
    """A node's processor."""

    model: Text | None = Field(None, description="The model, for people.")
    cores: Count | None = Field(None, description="Physical cores.")
    slots: Annotated[int, Field(ge=0, le=1024, strict=True)] | None = Field(
        None, description="Tasks that run on the processor at a time; 0 for none. Default: decided on the machine."
    )


class LineShape(Shape):
    """The circuit that a machine is on."""

    volts: Annotated[int, Field(ge=90, le=480, strict=True)] = Field(description="Its voltage: 120, 230.")
    amps: Annotated[int, Field(ge=1, le=125, strict=True)] = Field(description="The rating of its breaker: 15, 16.")


class PsuShape(Shape):
    """A node's power supply."""

    watts: Watts = Field(description="The rated power of the supply, in watts.")
    other_watts: Watts | None = Field(
        None,
        description="The power draw of the machine at full load without its GPUs; unknown when left out.",
    )
    standard: Literal["ATX 2", "ATX 3.0", "ATX 3.1"] | None = Field(
        None, description="The standard it is made to: an ATX 3 supply carries peaks over its rating for a millisecond."
    )
    efficiency: Literal["white", "bronze", "silver", "gold", "platinum", "titanium"] | None = Field(
        None, description="Its 80 PLUS mark, from which the watts at the wall follow."
    )
    rails: Annotated[int, Field(ge=1, le=16, strict=True)] | None = Field(
        None, description="Its rails of 12 V; each has a protection of its own, so that 1 carries the highest peaks."
    )
    line: LineShape | None = Field(None, description="The circuit of the house that it is on.")
    ups_watts: Watts | None = Field(None, description="The power of the uninterruptible supply before it, in watts.")


class DiskShape(Shape):
    """A drive of a node."""

    name: Text = Field(description="The operating system's name of the device: `nvme0n1`.")
    size: Size | None = Field(None, description="Its size.")
    medium: Literal["nvme", "ssd", "hdd"] | None = Field(None, description="The kind of drive.")


class NodeShape(Shape):
    """A machine."""

    name: Name = Field(description="Unique; on Kubernetes, the node's name there (its host name).")
    address: Host | None = Field(
        None, description="Host name or IP address. Leave it out for the machine that the file is used on."
    )
    os: Text | None = Field(None, description="The operating system, such as `nixos`, `unraid`, `pop-os`.")
    k3s_role: K3sRole | None = Field(
        None, alias="k3sRole", description="The node's role in K3s; left out when it is not part of it."
    )
    roles: tuple[Name, ...] = Field((), description="The purpose of the node, in your words: `generation`, `storage`.")
    gpus: tuple[GpuShape, ...] | None = Field(
        None, description="Its GPUs. Left out: they are found on the machine. `[]`: it has none."
    )
    cpu: CpuShape | None = Field(None, description="Its processor.")
    memory: Size | None = Field(None, description="Main memory.")
    psu: PsuShape | None = Field(None, description="Its power supply.")
    disks: tuple[DiskShape, ...] = Field((), description="Its drives.")
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        description="Kubernetes node labels. Values are text: put numbers and true/false in quotes.",
    )
    hours: HoursShape | None = Field(
        None, description="When tasks can start on it; a GPU can have hours of its own. Default: always."
    )
    removed_labels: tuple[LabelKey, ...] = Field(
        (), description="Labels that the node had once and must lose: K3s never takes one away by itself."
    )
