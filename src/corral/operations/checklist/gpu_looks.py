"""Evidence from the GPUs of a node and their driver."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.hardware.catalogue import resolve_gpu
from corral.operations.checklist.machines import Machines, NodeCards
from corral.operations.checklist.values import Evidence, Status
from corral.planning.checklist.probes import (
    DriverSuits,
    GpusDetected,
    LimitsPersist,
    PersistenceOn,
    PowerLimitsSet,
    WantedGpu,
)
from corral.rendering.gpus import POWER_LIMIT_UNIT
from corral.telemetry.nvml import FoundGpu, GpuState

_CLOSE_W = 1.0
"""Drivers report limits in milliwatts, rounded by the GPU."""
_FEW_LANES = 8
"""Two GPUs on a consumer board have 8 lanes each; fewer is the wrong slot, or a GPU that is not pushed in."""
_SERVICES = (
    "systemctl",
    "show",
    "*.service",
    "--no-pager",
    "--property=Id,UnitFileState,ActiveState,ExecStart",
)


def check_detected(probe: GpusDetected, machines: Machines) -> Evidence:
    """See whether the driver has every GPU, on a link that is wide enough. Raises: UnlookedError."""
    seen = machines.gpus(probe.node)
    problems = [problem for gpu in probe.gpus for problem in _list_problems(gpu, seen)]
    wanted = {gpu.index for gpu in probe.gpus}
    problems += [f"GPU {gpu.index} {gpu.name or ''} is not in the file" for gpu in seen.gpus if gpu.index not in wanted]
    if problems:
        return Evidence(status=Status.FAILED, what=_on(seen, "; ".join(problems)))
    return Evidence(status=Status.DONE, what=_on(seen, "; ".join(_describe(gpu) for gpu in seen.gpus)))


def check_driver(probe: DriverSuits, machines: Machines) -> Evidence:
    """See whether the driver knows the GPUs. Raises: UnlookedError."""
    seen = machines.gpus(probe.node)
    version = re.match(r"(\d+)\.(\d+)", seen.driver or "")
    if version is None:
        return Evidence(status=Status.UNKNOWN, what=_on(seen, "the driver does not say its version"))
    number = (int(version[1]), int(version[2]))
    is_open = None if seen.module is None else "Open Kernel Module" in seen.module
    facts = f"driver {seen.driver}, {_MODULES[is_open]}"
    is_right = probe.first_driver <= number and (probe.last_branch is None or number[0] <= probe.last_branch)
    if not is_right or (probe.open_modules and is_open is False):
        return Evidence(status=Status.FAILED, what=_on(seen, f"{facts}; wanted: {probe.wanted}"))
    if probe.open_modules and is_open is None:
        return Evidence(status=Status.UNKNOWN, what=_on(seen, f"{facts}; the open ones are needed"))
    return Evidence(status=Status.DONE, what=_on(seen, facts))


_MODULES = {True: "open kernel modules", False: "closed kernel modules", None: "kernel modules of unknown kind"}


def check_limits_set(probe: PowerLimitsSet, machines: Machines) -> Evidence:
    """See whether the GPUs have their limits. Raises: UnlookedError."""
    seen = machines.gpus(probe.node)
    by_index = {gpu.index: gpu for gpu in seen.gpus}
    facts: list[str] = []
    status = Status.DONE
    for index, watts in probe.limits_w:
        state, fact = _check_limit(by_index.get(index), index, watts)
        facts.append(fact)
        status = max(status, state, key=[Status.DONE, Status.UNKNOWN, Status.FAILED].index)
    return Evidence(status=status, what=_on(seen, "; ".join(facts)))


def check_persistence(probe: PersistenceOn, machines: Machines) -> Evidence:
    """See whether persistence mode is on. Raises: UnlookedError."""
    seen = machines.gpus(probe.node)
    modes = {gpu: seen.persistent.get(gpu) for gpu in probe.gpus}
    off = [gpu for gpu, mode in modes.items() if mode is False]
    if off:
        return Evidence(status=Status.FAILED, what=_on(seen, f"off for GPU {', '.join(map(str, off))}"))
    if None in modes.values():
        return Evidence(status=Status.UNKNOWN, what=_on(seen, "the driver does not say"))
    return Evidence(status=Status.DONE, what=_on(seen, f"on for GPU {', '.join(map(str, modes))}"))


def check_limits_persist(probe: LimitsPersist, machines: Machines) -> Evidence:
    """Look for a service that sets power limits at the start of the machine. Raises: UnlookedError."""
    ran = machines.run(probe.node, _SERVICES)
    if ran.exit_code != 0:
        return Evidence(status=Status.UNKNOWN, what=f"systemctl: {' '.join((ran.errors or ran.out).split())}")
    for unit in _find_units(ran.out):
        name, command = unit.get("Id", "?"), unit.get("ExecStart", "")
        # On NixOS a unit starts a script of the store, which does not show what it runs; there the name does.
        if name == f"{POWER_LIMIT_UNIT}.service" or re.search(r"nvidia-smi\b.*(-pl|--power-limit)\b", command):
            state = unit.get("UnitFileState") or "?"
            if state.startswith("enabled"):
                return Evidence(status=Status.DONE, what=f"{name} is {state}, {unit.get('ActiveState')}")
            return Evidence(status=Status.FAILED, what=f"{name} sets limits and is {state}, not enabled")
    return Evidence(status=Status.FAILED, what="no loaded service runs `nvidia-smi` with a power limit")


def _list_problems(gpu: WantedGpu, seen: NodeCards) -> Iterator[str]:
    present_gpu = next((present for present in seen.gpus if present.index == gpu.index), None)
    if present_gpu is None:
        yield f"no GPU {gpu.index}; the driver has {len(seen.gpus)}"
        return
    if present_gpu.state is not GpuState.OK:
        yield f"GPU {gpu.index} is {present_gpu.state.value}: {present_gpu.problem}"
        return
    if gpu.model is not None and present_gpu.name is not None and not _is(gpu, present_gpu):
        yield f"GPU {gpu.index} is {present_gpu.name}, wanted {gpu.model}"
    if (
        present_gpu.pcie
        and present_gpu.pcie_best
        and present_gpu.pcie.width < min(_FEW_LANES, present_gpu.pcie_best.width)
    ):
        yield f"GPU {gpu.index} has {present_gpu.pcie.width} PCIe lanes of {present_gpu.pcie_best.width}"


def _is(gpu: WantedGpu, present_gpu: FoundGpu) -> bool:
    """Compare by the catalogue, where both names are in it; by their letters otherwise."""
    wanted, have = (
        resolve_gpu(gpu.model, memory=gpu.memory),
        resolve_gpu(present_gpu.name, memory=present_gpu.memory_total),
    )
    if wanted is not None and have is not None:
        return wanted == have
    return (gpu.model or "").lower().replace(" ", "") in (present_gpu.name or "").lower().replace(" ", "")


def _check_limit(gpu: FoundGpu | None, index: int, watts: int) -> tuple[Status, str]:
    if gpu is None or gpu.state is not GpuState.OK:
        return Status.FAILED, f"GPU {index} does not answer"
    if gpu.power_limit_w is None:
        return Status.UNKNOWN, f"GPU {index} does not say its limit"
    bounds = gpu.power_limit_range_w
    allowed = "" if bounds is None else f" (it takes {bounds[0]:.0f} to {bounds[1]:.0f} W)"
    fact = f"GPU {index} is limited to {gpu.power_limit_w:.0f} W{allowed}"
    if abs(gpu.power_limit_w - watts) <= _CLOSE_W:
        return Status.DONE, fact
    return Status.FAILED, f"{fact}, wanted {watts} W"


def _describe(gpu: FoundGpu) -> str:
    link = "" if gpu.pcie is None or gpu.pcie_best is None else f", PCIe x{gpu.pcie.width} of x{gpu.pcie_best.width}"
    return f"GPU {gpu.index} {gpu.name or 'of unknown model'}{link}"


def _find_units(text: str) -> Iterator[dict[str, str]]:
    """Read blocks of `systemctl show`, which a blank line ends; a property that occurs several times is joined."""
    for block in re.split(r"\n\s*\n", text):
        unit: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition("=")
            unit[name] = f"{unit[name]} {value}" if name in unit else value
        if unit:
            yield unit


def _on(seen: NodeCards, what: str) -> str:
    return f"on {seen.machine}: {what}"
