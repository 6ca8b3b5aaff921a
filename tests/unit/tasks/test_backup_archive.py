"""An archive has the size that was announced, opens with `tar`, and is refused when a byte of it is another."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from pathlib import Path

import pytest

from corral.errors import CorralError
from corral.server.restoring import DataDirInUseError, check_restore
from corral.server.settings import ServerSettings
from corral.tasks.backup.archive import (
    ARTIFACTS,
    CLUSTER_FILE,
    DUMP,
    FORMAT,
    BackupDamagedError,
    BackupNewerError,
    Manifest,
    Member,
    count_bytes,
    read_manifest,
    unpack,
    write_archive,
)
from corral.tasks.migrations import DatabaseNewerError
from corral.units import Bytes

CONTENTS = (b"", b"x", b"y" * 512, b"z" * 1_500_000)


def a_member(folder: Path, name: str, content: bytes) -> Member:
    path = folder / name.replace("/", "-")
    path.write_bytes(content)
    return Member(name=name, path=path, size=Bytes(len(content)))


def an_archive(folder: Path, *, format: int = FORMAT, schema: str = "0001") -> tuple[Path, Manifest]:
    """Write an archive of a dump, a cluster file and four artifacts."""
    files = {f"{ARTIFACTS}/{hashlib.sha256(content).hexdigest()}": content for content in CONTENTS}
    members = [
        a_member(folder, name, content) for name, content in {CLUSTER_FILE: b"c", DUMP: b"PGDMP", **files}.items()
    ]
    manifest = Manifest(
        format=format,
        corral="0.1.0",
        schema=schema,
        name="desk",
        at="2026-01-01T00:00:00+00:00",
        tasks=3,
        open_tasks=1,
        artifacts=len(CONTENTS),
        artifact_bytes=sum(map(len, CONTENTS)),
        missing=0,
        database_bytes=5,
        database_sha256=hashlib.sha256(b"PGDMP").hexdigest(),
        cluster_bytes=1,
        cluster_sha256=hashlib.sha256(b"c").hexdigest(),
    )
    path = folder / "backup.tar"
    path.write_bytes(b"".join(write_archive(manifest, members)))
    assert path.stat().st_size == count_bytes(manifest, members)
    return path, manifest


def test_an_archive_is_unpacked_as_it_was_written(tmp_path: Path) -> None:
    path, manifest = an_archive(tmp_path)
    assert read_manifest(path) == unpack(path, None) == unpack(path, tmp_path / "out") == manifest
    written = {file.read_bytes() for file in (tmp_path / "out" / ARTIFACTS).glob("??/*")}
    assert written == set(CONTENTS)
    assert (tmp_path / "out" / DUMP).read_bytes() == b"PGDMP"


def test_an_archive_opens_with_the_systems_tar(tmp_path: Path) -> None:
    path, _ = an_archive(tmp_path)
    listed = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True).stdout.split()
    assert listed[:3] == ["backup.json", CLUSTER_FILE, DUMP]
    assert len(listed) == 3 + len(CONTENTS)


@pytest.mark.parametrize("text", [b"PGDMP", b"zzzz", b'"tasks"', b"y" * 512], ids=str)
def test_one_changed_byte_is_seen(tmp_path: Path, text: bytes) -> None:
    path, _ = an_archive(tmp_path)
    content = path.read_bytes()
    place = content.index(text) + 2
    path.write_bytes(content[:place] + b"!" + content[place + 1 :])
    with pytest.raises(BackupDamagedError):
        unpack(path, None)


def test_an_archive_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path, _ = an_archive(tmp_path)
    content = path.read_bytes()
    for size in (0, 100, 600, 2000, 5000, len(content) // 2, len(content) - 2000):
        path.write_bytes(content[:size])
        with pytest.raises(BackupDamagedError):
            unpack(path, None)


def test_an_archive_of_a_newer_format_names_the_version_that_reads_it(tmp_path: Path) -> None:
    path, _ = an_archive(tmp_path, format=FORMAT + 1)
    with pytest.raises(BackupNewerError) as refused:
        read_manifest(path)
    assert refused.value.hint == "use Corral 0.1.0 or newer"


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", f"{ARTIFACTS}/../../evil", "other.txt"])
def test_an_archive_writes_nothing_outside_its_folder(tmp_path: Path, name: str) -> None:
    path, manifest = an_archive(tmp_path)
    path.write_bytes(b"".join(write_archive(manifest, [a_member(tmp_path, "evil", b"e")])))
    member = Member(name=name, path=tmp_path / "evil", size=Bytes(1))
    path.write_bytes(b"".join(write_archive(manifest, [member])))
    with pytest.raises(BackupDamagedError, match="a backup has no file"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("first", ["manifest", "member"])
def test_a_member_that_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes, first: str) -> None:
    path, _ = an_archive(tmp_path)
    other = tarfile.TarInfo("backup.json" if first == "manifest" else CLUSTER_FILE)
    other.type, other.linkname = kind, "/etc/passwd"
    saved = path.read_bytes()
    after = 0 if first == "manifest" else saved.index(CLUSTER_FILE.encode())
    path.write_bytes(saved[:after] + other.tobuf(tarfile.GNU_FORMAT) + saved[after:])

    with pytest.raises(BackupDamagedError, match=r"not a plain file|is not backup\.json"):
        unpack(path, tmp_path / "out")


def test_a_check_refuses_a_file_that_no_backup_has_and_one_that_is_in_it_twice(tmp_path: Path) -> None:
    path, manifest = an_archive(tmp_path)
    once = a_member(tmp_path, CLUSTER_FILE, b"c")
    for members, words in (((a_member(tmp_path, "other.txt", b"o"),), "no file"), ((once, once), "twice")):
        path.write_bytes(b"".join(write_archive(manifest, members)))
        with pytest.raises(BackupDamagedError, match=words):
            unpack(path, None)


def test_the_check_before_a_restore_refuses_what_the_restore_refuses(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").touch()
    problems: list[tuple[str, Path, type[CorralError]]] = [
        ("9999", tmp_path / "new", DatabaseNewerError),
        ("0001", full, DataDirInUseError),
    ]
    for schema, data_dir, error in problems:
        path, _ = an_archive(tmp_path, schema=schema)
        with pytest.raises(error):
            check_restore(path, ServerSettings(data_dir=data_dir))
    path, manifest = an_archive(tmp_path)
    assert check_restore(path, ServerSettings(data_dir=tmp_path / "new")) == manifest
    assert not (tmp_path / "new").exists()
