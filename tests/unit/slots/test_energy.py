"""Whose energy a GPU's is: looks, work and clocks are given."""

from __future__ import annotations

import random

import pytest

from corral.slots.device_use import DeviceUse, Program
from corral.slots.energy import Energy, EnergyMeter, MeteredWork
from corral.work import SlotId

GPU, OTHER = SlotId("node/gpu0"), SlotId("node/gpu1")


def draws(watts: float) -> DeviceUse:
    return DeviceUse(power_w=watts)


class Measured:
    """A meter that was started on an idle GPU of 20 W, looked at every two seconds, and what it energies."""

    def __init__(self, *, idle_w: float = 20) -> None:
        self.meter = EnergyMeter()
        self.energies: list[Energy] = []
        self.meter.note_look(0, {GPU: draws(idle_w)})
        self.meter.note_look(2, {GPU: draws(idle_w)})

    def begin(self, at_s: float, *devices: SlotId) -> MeteredWork:
        work = self.meter.begin(devices or (GPU,), at_s)
        assert work is not None
        return work

    def end(self, work: MeteredWork, at_s: float) -> None:
        self.meter.end(work, at_s, self.energies.append)


def test_work_has_what_its_gpu_drew_while_it_ran() -> None:
    measured = Measured()
    work = measured.begin(2)
    measured.meter.note_look(4, {GPU: draws(300)})
    measured.meter.note_look(6, {GPU: draws(300)})
    measured.end(work, 6)
    assert measured.energies == [], "until the next look nobody knows what it drew at the end"
    measured.meter.note_look(8, {GPU: draws(20)})

    assert measured.energies == [Energy(joules=160 * 2 + 300 * 2)]


def test_short_work_between_two_looks_has_all_that_is_above_the_idle_draw() -> None:
    meter = Measured().meter
    energies: list[Energy] = []
    meter.note_look(4, {GPU: DeviceUse(power_w=20, energy_j=1000.0)})
    work = meter.begin([GPU], 4.5)
    assert work is not None
    meter.end(work, 5, energies.append)
    (energy,) = meter.note_look(6, {GPU: DeviceUse(power_w=20, energy_j=1180.0)}).values()

    assert energies[0].joules == pytest.approx(180 - 20 * 1.5), "half a second at 300 W, and none of the rest"
    assert (energy.joules, energy.seconds, energy.worked_s) == (180, 2, 0.5)


def test_lanes_share_by_the_seconds_that_each_ran() -> None:
    measured = Measured()
    long, short = measured.begin(2), measured.begin(3)
    measured.end(short, 4)
    measured.end(long, 4)
    measured.meter.note_look(4, {GPU: draws(180)})

    assert [energy.joules for energy in measured.energies] == [pytest.approx(200 * 2 / 3), pytest.approx(200 / 3)]


def test_program_outside_has_its_part() -> None:
    measured = Measured()
    work = measured.begin(2)
    measured.end(work, 4)
    game = Program(name="game", busy=0.25)
    (energy,) = measured.meter.note_look(4, {GPU: DeviceUse(power_w=180, busy=1.0, programs=(game,))}).values()

    assert measured.energies == [Energy(joules=150)]
    assert (energy.joules, energy.work_joules) == (200, 150)


def test_gap_is_a_gap() -> None:
    measured = Measured()
    work = measured.begin(2)
    measured.meter.note_look(4, {GPU: draws(300)})
    measured.meter.note_look(6, {GPU: DeviceUse(problem="the GPU is lost")})
    measured.meter.note_look(8, {GPU: draws(300)})
    measured.meter.note_look(40, {GPU: draws(300)})
    measured.end(work, 41)
    measured.meter.note_look(42, {GPU: draws(300)})

    (energy,) = measured.energies
    assert energy == Energy(joules=160 * 2 + 300, unmeasured_s=2 + 2 + 32)
    assert not energy.is_whole


def test_counter_of_the_driver_bridges_a_gap_and_a_new_driver_makes_one() -> None:
    meter = EnergyMeter()
    meter.note_look(0, {GPU: DeviceUse(energy_j=500.0)})
    assert meter.note_look(60, {GPU: DeviceUse(energy_j=6500.0)})[GPU].joules == 6000
    assert meter.note_look(62, {GPU: DeviceUse(energy_j=10.0)}) == {}


def test_work_on_two_gpus_is_told_once_with_both() -> None:
    measured = Measured(idle_w=100)
    measured.meter.note_look(4, {GPU: draws(100), OTHER: draws(50)})
    work = measured.begin(4, GPU, OTHER)
    measured.meter.note_look(6, {GPU: draws(100), OTHER: draws(50)})
    measured.end(work, 7)
    measured.meter.note_look(8, {GPU: draws(100)})  # the other does not answer any more

    assert [energy.unmeasured_s for energy in measured.energies] == [1]
    assert measured.energies[0].joules == pytest.approx(200 + 100 + 100)


def test_device_that_is_not_looked_at_measures_nothing() -> None:
    assert EnergyMeter().begin([SlotId("node/cpu0")], 0) is None


@pytest.mark.parametrize("seed", range(30))
def test_what_work_is_told_is_what_its_devices_say(seed: int) -> None:
    """The joules of all work together are the devices' part of work, whatever came and went when."""
    chance, meter, energies = random.Random(seed), EnergyMeter(), list[Energy]()
    going: list[MeteredWork] = []
    total = 0.0
    for tick in range(200):
        now = tick * 2.0
        for _ in range(chance.randrange(3)):
            if going and chance.random() < 0.5:
                meter.end(going.pop(chance.randrange(len(going))), now - chance.random(), energies.append)
            else:
                work = meter.begin(chance.sample([GPU, OTHER], chance.randint(1, 2)), now - 1 - chance.random() / 2)
                going += [] if work is None else [work]
        looked = {device: draws(chance.uniform(10, 300)) for device in (GPU, OTHER) if chance.random() < 0.9}
        total += sum(energy.work_joules for energy in meter.note_look(now, looked).values())
    while going:
        meter.end(going.pop(), 400, energies.append)
    total += sum(energy.work_joules for energy in meter.note_look(402, {}).values())

    assert sum(energy.joules for energy in energies) == pytest.approx(total)
