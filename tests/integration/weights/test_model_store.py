"""The model store over real files and a real server on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.weights.errors import DiskFullError, ModelDamagedError, ModelMissingError, PullError, StoreUnwritableError
from corral.weights.store import Store
from corral.weights.values import Progress, Stage
from doubles.file_server import FileServer
from doubles.small_models import (
    CONTENT,
    FILE,
    SHA256,
    a_store,
    an_entry,
    leftovers,
    url,
)
from doubles.tiny_llms import LLAMA, write_llm


async def test_a_pulled_model_is_found_by_name_and_alias_and_listed(tmp_path: Path, server: FileServer) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a")))

    model = await store.pull("t")

    assert store.path("tiny") == store.path("t") == model.path == tmp_path / "tiny" / FILE
    assert model.path.read_bytes() == CONTENT
    assert store.list() == (model,)
    assert (model.size, model.files[0].sha256) == (len(CONTENT), SHA256)
    assert leftovers(tmp_path) == []


async def test_progress_grows_to_the_whole_and_ends_stored(tmp_path: Path, server: FileServer) -> None:
    seen: list[Progress] = []

    await a_store(tmp_path, an_entry(url(server, "/a"))).pull("tiny", seen.append)

    downloading = [progress.done for progress in seen if progress.stage is Stage.DOWNLOADING]
    assert downloading == sorted(downloading)
    assert downloading[-1] == len(CONTENT)
    assert {progress.total for progress in seen} == {len(CONTENT)}
    assert seen[-1].stage is Stage.STORED


async def test_a_model_that_is_here_is_not_fetched_again(tmp_path: Path, server: FileServer) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a")))
    await store.pull("tiny")

    await store.pull("tiny")

    assert len(server.seen) == 1


async def test_other_bytes_than_promised_are_refused_and_deleted(tmp_path: Path, server: FileServer) -> None:
    server.files["/a"] = CONTENT[:-1] + b"!"
    store = a_store(tmp_path, an_entry(url(server, "/a")))

    with pytest.raises(PullError) as raised:
        await store.pull("tiny")

    (problem,) = raised.value.problems
    assert problem.code == "models.checksum_mismatch"
    assert SHA256 in problem.what
    assert store.list() == ()
    assert leftovers(tmp_path) == []


async def test_the_second_source_is_used_when_the_first_fails(tmp_path: Path, server: FileServer) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/nothing"), url(server, "/b")))

    model = await store.pull("tiny")

    assert model.source == server.url("/b")


async def test_every_source_that_failed_is_reported_with_its_reason(tmp_path: Path, server: FileServer) -> None:
    server.files["/b"] = b"something else"
    store = a_store(tmp_path, an_entry(url(server, "/nothing"), url(server, "/b")))

    with pytest.raises(PullError) as raised:
        await store.pull("tiny")

    first, second = raised.value.problems
    assert (first.what, first.where) == ("the server answered 404 Not Found", server.url("/nothing"))
    assert (second.code, second.where) == ("models.checksum_mismatch", server.url("/b"))


async def test_two_pulls_at_once_fetch_once_and_both_get_the_model(tmp_path: Path, server: FileServer) -> None:
    server.hold_after = 2**20
    entry = an_entry(url(server, "/a"))
    waits = asyncio.Event()

    def second_progress(progress: Progress) -> None:
        if progress.stage is Stage.WAITING:
            waits.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:  # without a lock, nobody waits for anyone
        underway = asyncio.Event()
        first = group.create_task(a_store(tmp_path, entry).pull("tiny", lambda _: underway.set()))
        await underway.wait()
        second = group.create_task(a_store(tmp_path, entry).pull("tiny", second_progress))
        await waits.wait()
        server.go_on.set()

    assert first.result() == second.result()
    assert len(server.seen) == 1


async def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path, server: FileServer) -> None:
    """The part lies on /dev/full, where the kernel answers every write with `no space left`."""
    incoming = tmp_path / ".incoming" / "tiny"
    incoming.mkdir(parents=True)
    (incoming / f"{FILE}.part").symlink_to("/dev/full")
    store = a_store(tmp_path, an_entry(url(server, "/a"), url(server, "/b")))

    with pytest.raises(DiskFullError) as raised:
        await store.pull("tiny")

    assert raised.value.hint
    assert len(server.seen) == 1
    assert leftovers(tmp_path) == []
    assert store.list() == ()


async def test_a_store_that_cannot_be_written_to_is_named(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnwritableError) as raised:
        await a_store(tmp_path / "file" / "models", an_entry(url(server, "/a"))).pull("tiny")

    assert str(tmp_path / "file") in (raised.value.where or "")


async def test_a_model_larger_than_the_disk_is_refused_before_the_first_byte(
    tmp_path: Path, server: FileServer
) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a"), size=2**60))

    with pytest.raises(DiskFullError, match="needed"):
        await store.pull("tiny")

    assert server.seen == []


async def test_a_local_file_is_linked_and_survives_its_removal_from_the_store(tmp_path: Path) -> None:
    file = tmp_path / "mine.bin"
    file.write_bytes(CONTENT)
    store = a_store(tmp_path / "store")

    model = await store.pull(str(file))

    assert model.path.is_symlink()
    assert store.path(str(file)).read_bytes() == CONTENT
    await store.remove(str(file))
    assert store.list() == ()
    assert file.read_bytes() == CONTENT


async def test_a_linked_model_can_be_removed_when_its_file_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "mine.bin"
    file.write_bytes(CONTENT)
    store = a_store(tmp_path / "store")
    await store.pull(str(file))
    file.unlink()

    with pytest.raises(ModelDamagedError, match="is gone"):
        store.path(str(file))
    await store.remove(str(file))

    assert store.list() == ()


async def test_a_removed_model_is_gone_with_its_unfinished_pull(tmp_path: Path, server: FileServer) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a")))
    await store.pull("tiny")

    await store.remove("t")

    assert not (tmp_path / "tiny").exists()
    assert store.list() == ()
    with pytest.raises(ModelMissingError):
        await store.remove("t")


async def test_a_changed_byte_is_found_by_verify(tmp_path: Path, server: FileServer) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a")))
    model = await store.pull("tiny")
    assert await store.verify("tiny") == model
    model.path.write_bytes(CONTENT[:-1] + b"!")

    with pytest.raises(ModelDamagedError, match="SHA-256"):
        await store.verify("tiny")


async def test_a_truncated_model_is_not_handed_out_and_pulled_anew(tmp_path: Path, server: FileServer) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a")))
    model = await store.pull("tiny")
    os.truncate(model.path, 5)

    with pytest.raises(ModelDamagedError, match=f"5 bytes instead of {len(CONTENT)}"):
        store.path("tiny")
    await store.pull("tiny")

    assert store.path("tiny").read_bytes() == CONTENT


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"version": 99}', b"\xff\xfe\xfd"])
async def test_an_unreadable_manifest_names_the_command_that_mends_it(
    tmp_path: Path, server: FileServer, garbage: bytes
) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a")))
    model = await store.pull("tiny")
    (model.folder / "corral-model.json").write_bytes(garbage)

    with pytest.raises(ModelDamagedError, match="corral models rm tiny"):
        store.path("tiny")
    await store.remove("tiny")
    await store.pull("tiny")

    assert store.path("tiny").read_bytes() == CONTENT


async def test_a_pull_with_another_checksum_replaces_what_is_here(tmp_path: Path, server: FileServer) -> None:
    await a_store(tmp_path, an_entry(url(server, "/a"))).pull("tiny")
    server.files["/a"] = newer = CONTENT[::-1]
    entry = an_entry(url(server, "/a"), sha256=hashlib.sha256(newer).hexdigest())

    model = await a_store(tmp_path, entry).pull("tiny")

    assert model.path.read_bytes() == newer


async def test_a_url_with_a_query_is_found_and_removed_by_what_is_shown_of_it(
    tmp_path: Path, server: FileServer
) -> None:
    store = a_store(tmp_path)
    model = await store.pull(server.url("/a?signature=secret"))

    assert model.name == server.url("/a")
    assert store.path(server.url("/a")) == store.path(server.url("/a?signature=secret")) == model.path
    assert "secret" not in (model.folder / "corral-model.json").read_text()
    await store.remove(server.url("/a"))
    assert store.list() == ()


@given(st.text(st.characters(), min_size=1))
def test_any_text_can_be_looked_for(text: str) -> None:
    for name in (text, f"~{text}", f"./{text}", f"hf:a/b/{text}"):
        assert Store(Path("/nonexistent")).find(name) is None


def test_a_model_that_is_not_here_names_the_pull(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError) as raised:
        Store(tmp_path).path("tiny.en")

    assert raised.value.hint == "corral models pull tiny.en"


def test_a_mistyped_name_is_answered_with_the_one_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError) as raised:
        Store(tmp_path).path("smolm2")

    assert raised.value.hint == "did you mean `smollm2`?"


@pytest.mark.parametrize(
    ("kept", "reason"),
    [(0, "is not a GGUF file: it starts with b'<htm'"), (300, "end inside its header"), (-64, "is cut short: it has ")],
)
async def test_a_file_that_is_not_a_whole_gguf_file_is_refused_when_it_comes(
    tmp_path: Path, kept: int, reason: str
) -> None:
    whole = write_llm(tmp_path / "whole.gguf", LLAMA).read_bytes()
    part = tmp_path / "part.gguf"
    part.write_bytes(whole[:kept] if kept else b"<html>not found</html>")
    store = a_store(tmp_path / "store")

    with pytest.raises(PullError) as raised:
        await store.pull(str(part))

    (problem,) = raised.value.problems
    assert reason in problem.what
    assert store.list() == ()
    await store.pull(str(tmp_path / "whole.gguf"))
