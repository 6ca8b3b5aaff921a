"""Writes samples down as they come, so that a machine that goes down in the middle leaves its evidence.

One test is one file of JSON lines in the folder `loadtests` of the data directory: a line that says what begins, a line
for each sample, a line that says how it ended. The file is synced every few seconds. A file without its last line is
a test that never ended: the next one looks, and concludes from the machine's boot id whether the machine or only the
program went down (https://docs.kernel.org/admin-guide/sysctl/kernel.html#random).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from corral.telemetry.nvml import GpuState
from corral.telemetry.sampling import GpuLimits, Sample, Slowed
from corral.units import format_duration

FOLDER = "loadtests"
_SYNC_EVERY_S = 5.0
"""The most that a power cut can cost; a sync of a few kilobytes took under 10 ms on a consumer disk."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A test as its file has it."""

    path: Path
    started_at: datetime
    wanted_s: float
    gpus: tuple[GpuLimits, ...]
    samples: tuple[Sample, ...]
    ended: str | None
    """How it ended (`finished`, `interrupted`, `all GPUs lost`); None: the file stops in the middle."""
    pid: int
    boot_id: str | None

    @property
    def last_s(self) -> float:
        """Seconds from the beginning to the last sample."""
        return max((sample.at_s for sample in self.samples), default=0.0)


class Recording:
    """The file of the test that runs; use it as a context manager, and call `end` when the test ends."""

    def __init__(self, path: Path, *, started_at: datetime, wanted_s: float, gpus: Sequence[GpuLimits]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("x", encoding="utf-8")
        self._synced_s = 0.0
        self._put(
            {
                "kind": "begin",
                "started_at": started_at.isoformat(),
                "wanted_s": wanted_s,
                "cards": [asdict(limits) for limits in gpus],
                "pid": os.getpid(),
                "boot_id": read_boot_id(),
            }
        )
        self._flush()

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, sample: Sample) -> None:
        """Write a sample; a lost GPU is on the disk when this returns."""
        self._put({"kind": "sample"} | {name: value for name, value in asdict(sample).items() if value is not None})
        if sample.state is not GpuState.OK or sample.at_s - self._synced_s >= _SYNC_EVERY_S:
            self._synced_s = sample.at_s
            self._flush()

    def end(self, how: str) -> None:
        """Write how the test ended, and sync."""
        self._put({"kind": "end", "how": how})
        self._flush()

    def _put(self, line: Mapping[str, object]) -> None:
        self._file.write(json.dumps(line) + "\n")

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def read_recording(path: Path) -> Recorded | None:
    """Read a test's file up to its last whole line; None when not even its beginning is there."""
    lines = list(_read_lines(path))
    if not lines or lines[0].get("kind") != "begin":
        return None
    begin = lines[0]
    return Recorded(
        path=path,
        started_at=datetime.fromisoformat(begin["started_at"]),
        wanted_s=begin["wanted_s"],
        gpus=tuple(GpuLimits(**limits) for limits in begin["cards"]),
        samples=tuple(_parse_sample(line) for line in lines if line.get("kind") == "sample"),
        ended=next((line["how"] for line in lines if line.get("kind") == "end"), None),
        pid=begin["pid"],
        boot_id=begin["boot_id"],
    )


def describe_unfinished(folder: Path, *, boot: str | None) -> str | None:
    """Say what became of the newest test in the folder, when it never ended; None when it did, or still runs.

    `boot` is the boot id of now.
    """
    paths = sorted(folder.glob("*.jsonl"))
    last = read_recording(paths[-1]) if paths else None
    if last is None or last.ended is not None or _is_running(last, boot):
        return None
    when = f"the test of {last.started_at:%Y-%m-%d %H:%M} has no end: its last sample is of"
    at = f"{format_duration(last.last_s)} of {format_duration(last.wanted_s)}"
    if boot is None or last.boot_id is None:
        return f"{when} {at}; whether the machine or the program went down is not known"
    if boot != last.boot_id:
        return f"{when} {at}, and the machine has started anew since: did it cut out under load (C04)?"
    return f"{when} {at}; the machine has run on since, so the program was killed"


def read_boot_id() -> str | None:
    """Identify this run of the machine; None where the kernel does not report it."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None


def _is_running(last: Recorded, boot: str | None) -> bool:
    if boot is None or boot != last.boot_id or last.pid == os.getpid():
        return False
    with suppress(psutil.Error):
        return psutil.Process(last.pid).create_time() <= last.started_at.timestamp() + 1
    return False


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:  # Any: JSON that a program of ours wrote
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError):  # the line that was being written when the machine went down
                yield json.loads(line)


def _parse_sample(line: Mapping[str, Any]) -> Sample:  # Any: as above
    fields = {name: value for name, value in line.items() if name != "kind"}
    slowed = fields.get("slowed")
    fields["state"] = GpuState(fields["state"])
    fields["slowed"] = None if slowed is None else tuple(Slowed(reason) for reason in slowed)
    return Sample(**fields)
