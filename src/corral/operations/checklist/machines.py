"""The programs and GPUs that a checklist looks at.

GPUs are asked through NVML on this machine, and through `nvidia-smi` over ssh on another. Programs run with a deadline
for short looks, and with their output shown for commands that a person watches.
"""

from __future__ import annotations

import csv
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from corral.kubernetes import Ran
from corral.operations.checklist.values import Shell, UnlookedError
from corral.telemetry.nvml import FoundGpu, NvmlStatus, PcieLink, find_gpus
from corral.telemetry.sampling import open_sampler
from corral.units import Bytes

DEADLINE_S = 20.0
_SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
"""BatchMode: a look never asks for a password."""
_MODULE = "/proc/driver/nvidia/version"
_FIELDS = (
    "index,name,memory.total,driver_version,power.limit,power.min_limit,power.max_limit,persistence_mode,"
    "pcie.link.width.current,pcie.link.width.max,pcie.link.gen.current,pcie.link.gen.max"
)
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCards:
    """The report of one node's driver."""

    machine: str
    """The machine that was really looked at: a host name, or an address."""
    driver: str | None
    gpus: tuple[FoundGpu, ...]
    persistent: Mapping[int, bool | None]
    module: str | None
    """The kernel module's own words; the open one reports `Open Kernel Module`."""


class Machines:
    """The nodes of a checklist, by name."""

    def __init__(
        self, addresses: Sequence[tuple[str, str | None]], shell: Shell, *, hostname: str | None = None
    ) -> None:
        self._addresses = dict(addresses)
        self._shell = shell
        self._hostname = hostname or socket.gethostname()

    def gpus(self, node: str) -> NodeCards:
        """Look at a node's GPUs. Raises: UnlookedError."""
        address = self._address(node)
        return self._here() if address is None else self._there(address)

    def run(self, node: str, argv: tuple[str, ...]) -> Ran:
        """Run a program on a node. Raises: UnlookedError when it cannot be run, or the node not be reached."""
        address = self._address(node)
        if address is None:
            return self._shell.run(argv, deadline_s=DEADLINE_S)
        ran = self._shell.run((*_SSH, address, shlex.join(argv)), deadline_s=DEADLINE_S)
        if ran.exit_code == 255:  # ssh's own failures; whatever the program returns is below
            raise UnlookedError(f"ssh to {address} failed: {_take_last(ran.errors)}", hint=f"try `ssh {address} true`")
        return ran

    def require_here(self, node: str) -> None:
        """Make sure that this machine is the node. Raises: UnlookedError."""
        address = self._address(node)
        if address is not None:
            raise UnlookedError(f"{node} is another machine, at {address}", hint=f"run this on {node}")

    def _address(self, node: str) -> str | None:
        """Find how a node is reached. Raises: UnlookedError when it is plainly another machine, without an address."""
        address = self._addresses.get(node)
        here = self._hostname.partition(".")[0]
        if address is None and here != node and here in self._addresses:
            raise UnlookedError(
                f"this machine is {here}, and {node} has no address in the cluster file",
                hint=f"run the checklist on {node}, or give it an `address`",
            )
        return address

    def _here(self) -> NodeCards:
        reading = find_gpus()
        if reading.status is not NvmlStatus.OK:
            raise UnlookedError(
                f"NVML does not answer on {self._hostname}: {reading.reason}", hint="run `corral doctor`"
            )
        with open_sampler() as sampler:
            persistent = {gpu: sampler.read_limits(gpu).is_persistent for gpu in sampler.gpus}
        return NodeCards(
            machine=self._hostname,
            driver=reading.driver_version,
            gpus=reading.gpus,
            persistent=persistent,
            module=_read_text(Path(_MODULE)),
        )

    def _there(self, address: str) -> NodeCards:
        query = f"nvidia-smi --query-gpu={_FIELDS} --format=csv,noheader,nounits && cat {_MODULE}"
        ran = self._shell.run((*_SSH, address, query), deadline_s=DEADLINE_S)
        if ran.exit_code != 0:
            raise UnlookedError(f"nvidia-smi on {address} failed: {_take_last(ran.errors or ran.out)}")
        return read_smi(ran.out, address)


def read_smi(text: str, machine: str) -> NodeCards:
    """Read what `nvidia-smi --query-gpu=...` and the kernel module's version file print."""
    lines = text.splitlines()
    module = next((line for line in lines if line.startswith("NVRM version:")), None)
    rows = [row for row in csv.reader(lines, skipinitialspace=True) if len(row) == _FIELDS.count(",") + 1]
    return NodeCards(
        machine=machine,
        driver=rows[0][3] if rows else None,
        gpus=tuple(_read_gpu(row) for row in rows),
        persistent={int(row[0]): row[7] == "Enabled" for row in rows},
        module=module,
    )


def _read_gpu(row: Sequence[str]) -> FoundGpu:
    memory, least, most = _read_number(row[2]), _read_number(row[5]), _read_number(row[6])
    gpu = FoundGpu(
        index=int(row[0]),
        name=row[1],
        memory_total=None if memory is None else Bytes(int(memory * _MIB)),
        power_limit_w=_read_number(row[4]),
        power_limit_range_w=None if least is None or most is None else (least, most),
    )
    return replace(gpu, pcie=_link(row[8], row[10]), pcie_best=_link(row[9], row[11]))


def _link(width: str, generation: str) -> PcieLink | None:
    lanes, speed = _read_number(width), _read_number(generation)
    return None if lanes is None or speed is None else PcieLink(generation=int(speed), width=int(lanes))


def _read_number(text: str) -> float | None:
    """Read a number of nvidia-smi; None for `[N/A]` and its like."""
    try:
        return float(text)
    except ValueError:
        return None


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        return None


def _take_last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


_KEPT = 2000
"""Letters of a command's output that are kept as evidence: its end, where the error is."""


class LocalShell:
    """Runs programs on this machine."""

    def run(self, argv: tuple[str, ...], *, deadline_s: float) -> Ran:
        """Run a program without a shell. Raises: UnlookedError when it is not installed or exceeds its deadline."""
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise UnlookedError(f"{argv[0]} cannot be run: {error.strerror}", hint=f"install {argv[0]}") from error
        try:
            out, errors = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired as error:
            raise UnlookedError(f"`{' '.join(argv)}` gave no answer in {deadline_s:g} s") from error
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return Ran(exit_code=process.returncode, out=out, errors=errors)

    def stream(self, line: str) -> Ran:
        """Run a shell line; what it prints goes to stderr as it comes, and its end is kept."""
        with subprocess.Popen(
            ["/bin/sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            kept = ""
            assert process.stdout is not None  # it is a pipe
            for printed in process.stdout:
                sys.stderr.write(printed)
                sys.stderr.flush()
                kept = (kept + printed)[-_KEPT:]
        return Ran(exit_code=process.returncode, out=kept, errors="")
