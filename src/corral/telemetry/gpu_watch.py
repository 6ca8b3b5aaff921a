"""The one sampler of this machine's GPUs while a server runs: memory, and who uses it, of all at once.

It keeps NVIDIA's driver open between looks, and opens it anew after an error that a reload of the driver leaves. Looks
block: one at a GPU that is falling off the bus can take seconds, so they are made in a thread. `sampler` answers
further questions (power, temperature, clocks) on the same open driver.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corral.slots.device_use import DeviceUse, Program
from corral.slots.health import Signs
from corral.telemetry.drm_clients import DrmClients
from corral.telemetry.kernel_gpus import KernelCard, list_kernel_cards
from corral.telemetry.nvml import GpuState, NvmlStatus, describe_error, find_status, open_session
from corral.telemetry.ownership import Own, Ownership, Process
from corral.telemetry.sampling import HARDWARE_SLOWDOWNS, CardUse, GpuProcess, Sampler
from corral.telemetry.xid_watch import XidWatch, open_xid_watch
from corral.units import Bytes

REOPEN_S = 10.0
"""Between two tries to open the driver anew while a GPU does not answer: a reload ends what was opened before."""
_LIST_CARDS_S = 60.0
"""Between two looks for GPUs of AMD and Intel."""
_NO_LIST = "the driver does not list the processes on it"
_NO_SIZES = "the driver does not report the memory of each process"
_OTHER_NUMBERS = "Corral runs in a container, where the driver's process ids cannot be looked up"


@dataclass(frozen=True, slots=True)
class _Users:
    """The processes of one GPU, with whose they are."""

    processes: tuple[tuple[GpuProcess, Process | None], ...]
    """None stands for one whose number means nothing here."""
    is_whole: bool
    """Whether the list is known to have all that use the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLook:
    """One look at all GPUs."""

    uses: Mapping[str, DeviceUse]
    """By UUID or PCI address; a GPU that cannot be named is not here."""
    nvidia_problem: str | None = None
    """Why NVIDIA's driver does not answer at all; None when it does, and where there is none."""


@dataclass(slots=True)
class GpuWatch:
    """Looks at all GPUs; used by one thread at a time."""

    root: Path = Path("/")
    """Where /proc and /sys are found."""
    sees_the_machine: bool | None = None
    """Whether process ids here are those of the whole machine; None looks at this process's own namespace."""
    sampler: Sampler | None = None
    """Of NVIDIA's GPUs, while their driver is open."""
    _xids: XidWatch | None = None
    _session: ExitStack = field(default_factory=ExitStack)
    _reopen_at: float | None = None
    """When the driver is opened anew, because a GPU did not answer; on the clock of `look`."""
    _cards: Sequence[KernelCard] = ()
    _cards_due: float = 0.0
    _clients: DrmClients = field(init=False)
    _ownership: Ownership = field(init=False)

    def __post_init__(self) -> None:
        self._clients = DrmClients(self.root)
        self._ownership = Ownership(self.root)

    def look(self, own: Own, now_s: float) -> GpuLook:
        """Look at every GPU; `now_s` is a clock that never jumps."""
        nvidia, problem = self._look_at_nvidia(now_s)
        kernel = self._look_at_kernel(now_s)
        pids = {process.pid for use in (*nvidia, *kernel) for process in use.processes or ()}
        if pids:
            self._ownership.refresh(own, pids, now_s)
        users = [
            *((use, self._tell_apart(use, own)) for use in nvidia),
            *((use, self._look_up(use, own)) for use in kernel),
        ]
        self._ownership.forget_all_but(pids)
        xids: Mapping[str, tuple[int, ...]] = {} if self._xids is None else self._xids.take()
        return GpuLook(
            uses={
                use.identity: _make_device_use(use, whose, xids.get(use.identity, ()))
                for use, whose in users
                if use.identity is not None
            },
            nvidia_problem=problem,
        )

    def close(self) -> None:
        """Close NVIDIA's driver; the next look opens it again."""
        self.sampler = self._xids = self._reopen_at = None
        self._session.close()

    def _look_at_nvidia(self, now_s: float) -> tuple[list[CardUse], str | None]:
        import pynvml

        if self._reopen_at is not None and self._reopen_at <= now_s:
            self.close()
        try:
            sampler = self.sampler or self._open(pynvml)
            uses = [sampler.read_use(gpu) for gpu in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            self.close()
            status = find_status(pynvml, error)
            return [], None if status is NvmlStatus.NO_LIBRARY else describe_error(error)
        if self._reopen_at is None and any(use.state is not GpuState.OK for use in uses):
            self._reopen_at = now_s + REOPEN_S
        return uses, None

    def _open(self, nvml: Any) -> Sampler:  # Any: the binding is untyped
        self._session.enter_context(open_session(nvml))
        gpus = range(nvml.nvmlDeviceGetCount())
        self._xids = self._session.enter_context(open_xid_watch(nvml, gpus))
        self.sampler = Sampler(nvml, gpus)
        return self.sampler

    def _look_at_kernel(self, now_s: float) -> list[CardUse]:
        if now_s >= self._cards_due:
            self._cards, self._cards_due = tuple(list_kernel_cards(self.root)), now_s + _LIST_CARDS_S
        if not self._cards:
            return []
        processes = self._clients.list_processes([card.pci for card in self._cards], now_s)
        return [_make_use(card, processes[card.pci]) for card in self._cards]

    def _tell_apart(self, use: CardUse, own: Own) -> _Users:
        """Look up the processes that NVIDIA's driver lists.

        In a container, drivers give numbers of the machine, or leave out what the container does not see: a number is
        believed where the process that has it here has one of the driver's files open.
        """
        users = self._look_up(use, own)
        if self.sees_the_machine if self.sees_the_machine is not None else self._ownership.sees_the_machine:
            return users
        believed = tuple(
            (process, known if self._ownership.has_nvidia_open(process.pid) else None)
            for process, known in users.processes
        )
        return _Users(believed, is_whole=bool(believed) and all(known is not None for _, known in believed))

    def _look_up(self, use: CardUse, own: Own) -> _Users:
        processes = use.processes or ()
        users = tuple((process, self._ownership.describe(process.pid, own)) for process in processes)
        return _Users(users, is_whole=True)


def _make_device_use(use: CardUse, users: _Users, xids: tuple[int, ...]) -> DeviceUse:
    blind = _find_blindness(use, users)
    ours = [(process, known) for process, known in users.processes if known is not None and known.is_own]
    return DeviceUse(
        total=use.total,
        used=use.used,
        own=None if blind else Bytes(sum(process.memory or 0 for process, _ in ours)),
        programs=_group((process, known) for process, known in users.processes if known is None or not known.is_own),
        busy=use.busy,
        power_w=use.power_w,
        energy_j=use.energy_j,
        temperature_c=use.temperature_c,
        signs=Signs(
            xids=xids,
            ecc_uncorrected=use.ecc_uncorrected,
            slowdowns=None
            if use.slowed is None
            else tuple(reason.value for reason in use.slowed if reason in HARDWARE_SLOWDOWNS),
        ),
        problem=use.problem,
        blind=blind,
        located=frozenset(known.port for _, known in ours if known.port is not None),
    )


def _make_use(card: KernelCard, processes: Sequence[GpuProcess]) -> CardUse:
    """Describe a GPU of AMD or Intel; where the kernel does not say what is used, it is what its clients hold."""
    if not card.device.exists():
        return CardUse(identity=card.pci, state=GpuState.LOST, problem="the kernel does not list it any more")
    total, used = card.read_memory()
    sizes = [process.memory for process in processes if process.memory is not None]
    times = [process.busy for process in processes if process.busy is not None]
    return CardUse(
        identity=card.pci,
        total=total,
        used=used if used is not None or total is None else Bytes(min(total, sum(sizes))),
        busy=min(1.0, sum(times)) if times or not processes else None,
        processes=tuple(processes),
    )


def _find_blindness(use: CardUse, users: _Users) -> str | None:
    if use.state is not GpuState.OK:
        return None
    if use.processes is None:
        return _NO_LIST
    if not users.is_whole:
        return _OTHER_NUMBERS
    return _NO_SIZES if any(process.memory is None for process, _ in users.processes) else None


def _group(others: Iterable[tuple[GpuProcess, Process | None]]) -> tuple[Program, ...]:
    """Make one program of the processes of one name and user; the largest first."""
    groups: dict[tuple[str, str | None], list[tuple[GpuProcess, frozenset[str]]]] = defaultdict(list)
    for process, known in others:
        if known is None:
            groups[f"process {process.pid}", None].append((process, frozenset()))
        else:
            groups[known.name, known.user].append((process, known.aliases))
    programs = [_make_program(name, user, members) for (name, user), members in groups.items()]
    return tuple(sorted(programs, key=lambda program: (-(program.memory or 0), program.name)))


def _make_program(name: str, user: str | None, members: Sequence[tuple[GpuProcess, frozenset[str]]]) -> Program:
    sizes = [process.memory for process, _ in members if process.memory is not None]
    times = [process.busy for process, _ in members if process.busy is not None]
    return Program(
        name=name,
        user=user,
        aliases=frozenset[str]().union(*(aliases for _, aliases in members)),
        memory=Bytes(sum(sizes)) if sizes else None,
        busy=min(1.0, sum(times)) if times else None,
    )
