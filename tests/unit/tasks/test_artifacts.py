"""A file is in the store whole, under its checksum, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore, ArtifactTooLargeError, DiskFullError
from corral.tasks.values import Sha256
from corral.units import Bytes


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    store = ArtifactStore(tmp_path / "artifacts")
    store.prepare()
    return store


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def a_file(folder: Path, content: bytes = b"hello", name: str = "made.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_adopted_file_lies_under_its_checksum(store: ArtifactStore, tmp_path: Path) -> None:
    content = store.adopt(a_file(tmp_path))
    assert content.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert store.locate(content.sha256).read_bytes() == b"hello"
    assert store.verify(content.sha256)


def test_equal_content_is_stored_once(store: ArtifactStore, tmp_path: Path) -> None:
    first = store.adopt(a_file(tmp_path, name="a"))
    second = store.adopt(a_file(tmp_path, name="b"))
    assert store.locate(first.sha256) == store.locate(second.sha256)


def test_renames_of_many_files_are_synced_once_for_each_folder(tmp_path: Path) -> None:
    synced: list[int] = []
    store = ArtifactStore(tmp_path / "artifacts", fsync=lambda number: synced.append(os.fstat(number).st_ino))
    store.prepare()
    contents = [store.adopt(a_file(tmp_path, str(number).encode())) for number in range(600)]
    assert len(synced) == 600
    store.settle(contents)
    folders = {store.locate(content.sha256).parent for content in contents}
    assert sorted(synced[600:]) == sorted(folder.stat().st_ino for folder in folders)


async def test_upload_is_received_whole(store: ArtifactStore) -> None:
    content = await store.receive(chunks(b"hel", b"lo"), limit=Bytes(5))
    assert content.size == 5
    assert store.verify(content.sha256)


async def test_upload_over_its_limit_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactTooLargeError):
        await store.receive(chunks(b"hel", b"lo"), limit=Bytes(4))
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []


def test_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = ArtifactStore(tmp_path / "artifacts", fsync=full)
    store.prepare()
    with pytest.raises(DiskFullError):
        store.adopt(a_file(tmp_path))
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "x" * 64, "A" * 64])
def test_only_checksums_name_files(store: ArtifactStore, name: str) -> None:
    with pytest.raises(ArtifactMissingError):
        store.locate(Sha256(name))


def test_sweep_spares_what_is_kept_and_what_is_new(store: ArtifactStore, tmp_path: Path) -> None:
    kept = store.adopt(a_file(tmp_path, b"kept")).sha256
    old = store.adopt(a_file(tmp_path, b"old")).sha256
    new = store.adopt(a_file(tmp_path, b"new")).sha256
    for sha256 in (kept, old):
        os.utime(store.locate(sha256), (0, 0))
    assert store.sweep({kept}) == (1, 3)
    assert store.locate(kept).exists()
    assert store.locate(new).exists()
    with pytest.raises(ArtifactMissingError):
        store.locate(old)


def test_interrupted_upload_is_removed_at_the_next_start(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    store.prepare()
    leftover = a_file(tmp_path / "artifacts" / "incoming", b"half")
    store.prepare()
    assert not leftover.exists()


def test_a_file_from_another_disk_is_in_the_store_whole_and_gone_from_there(store: ArtifactStore) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == store.root.stat().st_dev:
        pytest.fail("this test needs two file systems: /dev/shm and the folder of temporary files")
    source = a_file(elsewhere, b"from elsewhere", f"corral-{os.getpid()}")
    content = store.adopt(source)
    assert store.locate(content.sha256).read_bytes() == b"from elsewhere"
    assert store.locate(content.sha256).stat().st_mode & 0o777 == 0o444
    assert not source.exists()
    assert not list((store.root / "incoming").iterdir())


def test_what_another_server_is_writing_stays_when_this_one_starts(store: ArtifactStore) -> None:
    fresh, old = (a_file(store.root / "incoming", name=name) for name in ("fresh", "old"))
    os.utime(old, (1, 1))
    store.prepare(older_than_s=600)
    assert fresh.exists()
    assert not old.exists()
    store.prepare()
    assert not fresh.exists()
