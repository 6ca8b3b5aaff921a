"""Outputs are written whole below the allowed folder or not at all, and no name and no link leads out of it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO

import pytest

from corral.cluster.keeping import OutputFolder
from corral.tasks.deliveries.writing import (
    DamagedCopyError,
    InTheWayError,
    ShareAwayError,
    UnsafePathError,
    try_folder,
    write_outputs,
)
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes

SIZE = 3 * 1024 * 1024 + 17


class Store:
    """Files by content, as the artifact store has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, name: str, content: bytes) -> StoredFile:
        sha256 = Sha256(hashlib.sha256(content).hexdigest())
        self.locate(sha256).write_bytes(content)
        return StoredFile(name=name, sha256=sha256, size=Bytes(len(content)), media_type="text/plain")

    def locate(self, sha256: Sha256) -> Path:
        return self.folder / sha256

    def open(self, sha256: Sha256) -> BinaryIO:
        return self.locate(sha256).open("rb")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "nas"
    path.mkdir(mode=0o755)
    return path


def write(share: Path, path: str, store: Store, *files: StoredFile, go_on: Callable[[], None] = lambda: None) -> None:
    write_outputs(OutputFolder(path=str(share)), path, files, store.open, go_on)


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_there_whole_with_the_permissions_of_the_share(share: Path, store: Store) -> None:
    share.chmod(0o775)
    files = store.add("a.png", b"a" * SIZE), store.add("b.txt", b"b")
    write(share, "31/fox-1", store, *files)
    assert list_files(share) == {"31/fox-1/a.png": b"a" * SIZE, "31/fox-1/b.txt": b"b"}
    assert (share / "31" / "fox-1").stat().st_mode & 0o777 == 0o775
    assert (share / "31" / "fox-1" / "a.png").stat().st_mode & 0o777 == 0o664


class CutOffError(Exception):
    """Stands for the end of the process."""


def test_what_is_cut_off_at_any_step_leaves_no_part_under_a_name_and_is_finished_by_the_next(
    share: Path, store: Store
) -> None:
    files = [store.add(f"{name}.bin", name.encode() * SIZE) for name in "ab"]
    whole = {f"1/t/{file.name}": store.locate(file.sha256).read_bytes() for file in files}
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    write(share, "1/t", store, *files, go_on=count)
    assert steps > 10
    for last in range(steps):
        target = share.parent / f"nas-{last}"
        target.mkdir()
        left = last

        def go_on() -> None:
            nonlocal left
            if left == 0:
                raise CutOffError
            left -= 1

        with pytest.raises(CutOffError):
            write(target, "1/t", store, *files, go_on=go_on)
        assert list_files(target).items() <= whole.items()
        write(target, "1/t", store, *files)
        assert list_files(target) == whole


def test_a_file_that_is_there_whole_is_not_written_again(share: Path, store: Store) -> None:
    file = store.add("a.bin", b"a" * SIZE)
    write(share, "1/t", store, file)
    before = (share / "1" / "t" / "a.bin").stat()
    write(share, "1/t", store, file)
    after = (share / "1" / "t" / "a.bin").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_part_that_a_killed_server_left_is_written_anew(share: Path, store: Store) -> None:
    file = store.add("a.bin", b"a" * SIZE)
    (share / "1" / "t").mkdir(parents=True)
    (share / "1" / "t" / f".corral-{file.sha256}.part").write_bytes(b"half")
    write(share, "1/t", store, file)
    assert list_files(share) == {"1/t/a.bin": b"a" * SIZE}


class Paced(BytesIO):
    """Content of which the second read waits for something."""

    def __init__(self, content: bytes, wait: Callable[[], object]) -> None:
        super().__init__(content)
        self._wait, self._reads = wait, 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads == 2:
            self._wait()
        return super().read(size)


def test_servers_that_write_one_file_at_once_give_its_name_to_a_whole_copy_alone(share: Path, store: Store) -> None:
    content = b"a" * SIZE
    file, folder = store.add("a.bin", content), OutputFolder(path=str(share))
    begun, over = Event(), Event()
    problems: list[Exception] = []

    def pause() -> None:
        begun.set()
        over.wait(20)

    def write_slowly() -> None:
        try:
            write_outputs(folder, "1/t", [file], lambda _: Paced(content, pause), lambda: None)
        except Exception as error:  # noqa: BLE001 (it is compared below)
            problems.append(error)

    slow = Thread(target=write_slowly)

    def let_other_begin() -> None:
        slow.start()
        assert begun.wait(20)

    write_outputs(folder, "1/t", [file], lambda _: Paced(content, let_other_begin), lambda: None)
    assert list_files(share) == {"1/t/a.bin": content}, "the other one is in the midst of it"
    over.set()
    slow.join()
    assert (list_files(share), problems) == ({"1/t/a.bin": content}, [])


def test_a_part_that_was_left_long_ago_makes_room_before_anything_is_written(share: Path, store: Store) -> None:
    file = store.add("a.bin", b"a" * SIZE)
    (share / "1" / "t").mkdir(parents=True)
    old, fresh = (share / "1" / "t" / f".corral-{file.sha256}-{digit * 32}.part" for digit in "12")
    for part in (old, fresh):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    seen: list[bool] = []
    write(share, "1/t", store, file, go_on=lambda: seen.append(old.exists() or not fresh.exists()))
    assert not any(seen)
    assert list_files(share) == {"1/t/a.bin": b"a" * SIZE}


def test_another_file_of_the_name_is_never_replaced(share: Path, store: Store) -> None:
    file = store.add("a.bin", b"a")
    (share / "1" / "t").mkdir(parents=True)
    (share / "1" / "t" / "a.bin").write_bytes(b"b")
    with pytest.raises(InTheWayError, match=r"another 'a\.bin'"):
        write(share, "1/t", store, file)
    assert list_files(share) == {"1/t/a.bin": b"b"}


@pytest.mark.parametrize("path", ["..", "1/../../etc", "1/.", "1//t", "/etc", "1/a\\b"])
def test_a_path_that_leads_elsewhere_is_refused(share: Path, store: Store, path: str) -> None:
    with pytest.raises(UnsafePathError):
        write(share, path, store, store.add("a.bin", b"a"))
    assert [entry.name for entry in share.parent.iterdir()] == ["store", "nas"] or not list_files(share)


@pytest.mark.parametrize("name", ["..", "../a.bin", "/etc/passwd", "a/b", ""])
def test_an_engines_name_that_leads_elsewhere_is_refused(share: Path, store: Store, name: str) -> None:
    with pytest.raises(UnsafePathError):
        write(share, "1/t", store, store.add(name, b"a"))
    assert list_files(share) == {}


@pytest.mark.parametrize("level", ["1", "1/t"])
def test_no_link_is_followed_out_of_the_folder(share: Path, store: Store, tmp_path: Path, level: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (share / level).parent.mkdir(parents=True, exist_ok=True)
    (share / level).symlink_to(outside, target_is_directory=True)
    with pytest.raises(UnsafePathError, match="is a link"):
        write(share, "1/t", store, store.add("a.bin", b"a"))
    assert list_files(outside) == {}


@pytest.mark.parametrize("content", [b"mine", b"a"])
def test_a_link_in_the_place_of_a_file_is_not_written_through_and_not_taken_for_it(
    share: Path, store: Store, tmp_path: Path, content: bytes
) -> None:
    (share / "1" / "t").mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(content)
    (share / "1" / "t" / "a.bin").symlink_to(victim)
    with pytest.raises(InTheWayError):
        write(share, "1/t", store, store.add("a.bin", b"a"))
    assert victim.read_bytes() == content


def test_an_artifact_with_other_content_never_gets_the_name(share: Path, store: Store) -> None:
    file = store.add("a.bin", b"a" * SIZE)
    store.locate(file.sha256).write_bytes(b"b" * SIZE)
    with pytest.raises(DamagedCopyError):
        write(share, "1/t", store, file)
    assert list_files(share) == {}


def test_a_folder_that_is_not_there_is_away_and_never_made(tmp_path: Path, store: Store) -> None:
    with pytest.raises(ShareAwayError, match="No such file"):
        write(tmp_path / "gone", "1/t", store, store.add("a.bin", b"a"))
    assert not (tmp_path / "gone").exists()


def test_a_mount_point_on_which_nothing_is_mounted_is_away(share: Path, store: Store) -> None:
    folder = OutputFolder(path=str(share), mounted=True)
    with pytest.raises(ShareAwayError, match="nothing is mounted there"):
        write_outputs(folder, "1/t", [store.add("a.bin", b"a")], store.open, lambda: None)
    assert list_files(share) == {}
    mounted = next(path for path in ("/dev/shm", "/proc") if os.path.ismount(path))
    with pytest.raises(ShareAwayError, match="nothing can be written") if mounted == "/proc" else nullcontext():
        try_folder(OutputFolder(path=mounted, mounted=True))


def test_a_folder_that_takes_nothing_is_away(share: Path) -> None:
    try_folder(OutputFolder(path=str(share)))
    assert list(share.iterdir()) == []
    (share / ".corral-probe").mkdir()
    with pytest.raises(ShareAwayError, match="nothing can be written"):
        try_folder(OutputFolder(path=str(share)))


WRITER = """
import sys
from pathlib import Path
from corral.cluster.values import OutputFolder
from corral.tasks.deliveries.writing import write_outputs
from corral.tasks.values import StoredFile
share, store = map(Path, sys.argv[1:3])
files = [
    StoredFile(name=f"{path.name[:8]}.bin", sha256=path.name, size=path.stat().st_size, media_type="text/plain")
    for path in sorted(store.iterdir())
]
print("ready", flush=True)
write_outputs(OutputFolder(path=str(share)), "1/t", files, lambda sha256: (store / sha256).open('rb'), lambda: None)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_whole_files_alone(share: Path, store: Store) -> None:
    files = [store.add(f"{number}.bin", bytes([number]) * SIZE) for number in range(12)]
    whole = {f"1/t/{file.sha256[:8]}.bin": store.locate(file.sha256).read_bytes() for file in files}
    inodes: dict[str, int] = {}
    chance, kills = random.Random(3), 0
    for _ in range(12):
        argv = [sys.executable, "-c", WRITER, str(share), str(store.folder)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            try:
                writer.wait(chance.uniform(0.0, 0.12))
            except subprocess.TimeoutExpired:
                writer.kill()
                kills += 1
        named = {name: content for name, content in list_files(share).items() if not name.endswith(".part")}
        assert named.items() <= whole.items()
        for name in named:
            assert inodes.setdefault(name, (share / name).stat().st_ino) == (share / name).stat().st_ino
    assert kills
    write(share, "1/t", store, *(replace(file, name=f"{file.sha256[:8]}.bin") for file in files))
    assert list_files(share) == whole
    assert {name: (share / name).stat().st_ino for name in inodes} == inodes
