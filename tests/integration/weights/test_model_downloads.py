"""Downloads that break, change, are refused or killed, from a real server on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

import pytest

from corral.units import Bytes
from corral.weights.downloads import Patience
from corral.weights.errors import ModelMissingError, PullError
from corral.weights.fetching import Connections
from corral.weights.store import Store
from corral.weights.values import Entry, ModelFile, UrlSource
from doubles.file_server import FileServer, serving
from doubles.small_models import (
    CONTENT,
    FILE,
    SHA256,
    a_store,
    an_entry,
    lets_break,
    url,
)


async def test_a_dropped_connection_is_continued_where_it_broke(tmp_path: Path, server: FileServer) -> None:
    server.break_after = [2**20]

    model = await a_store(tmp_path, an_entry(url(server, "/a"))).pull("tiny", lets_break(server))

    first, second = server.ranges()
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 2**20
    assert model.path.read_bytes() == CONTENT


async def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path: Path, server: FileServer) -> None:
    """Without a checksum nothing else would notice that two versions were joined."""
    entry = an_entry(url(server, "/a"), sha256=None, size=None)
    server.break_after = [2**20]
    store = Store(tmp_path, catalogue=(entry,), connections=Connections(patience=Patience(fruitless_tries=1)))
    with pytest.raises(PullError):
        await store.pull("tiny", lets_break(server))
    server.files["/a"] = changed = CONTENT[::-1]

    model = await store.pull("tiny")

    assert server.ranges()[-1] is not None
    assert model.path.read_bytes() == changed


async def test_a_server_without_etags_is_asked_for_all_of_it_again(tmp_path: Path, server: FileServer) -> None:
    server.gives_etags = False
    server.break_after = [2**20]

    model = await a_store(tmp_path, an_entry(url(server, "/a"))).pull("tiny", lets_break(server))

    assert server.ranges() == [None, None]
    assert model.path.read_bytes() == CONTENT


async def test_a_server_that_ignores_ranges_is_taken_from_the_start(tmp_path: Path, server: FileServer) -> None:
    server.knows_ranges = False
    server.break_after = [2**20]

    model = await a_store(tmp_path, an_entry(url(server, "/a"))).pull("tiny", lets_break(server))

    assert server.ranges()[1] is not None
    assert model.path.read_bytes() == CONTENT


async def test_a_busy_server_is_asked_again(tmp_path: Path, server: FileServer) -> None:
    server.refuse_with = [503]

    await a_store(tmp_path, an_entry(url(server, "/a"))).pull("tiny")

    assert len(server.seen) == 2


async def test_a_partial_file_of_one_source_is_not_continued_with_another(tmp_path: Path, server: FileServer) -> None:
    server.files["/a"] = CONTENT[::-1]
    server.break_after = [2**20, 0]
    store = a_store(tmp_path, an_entry(url(server, "/a"), url(server, "/b")))

    model = await store.pull("tiny", lets_break(server))

    assert [asked is None for asked in server.ranges()] == [True, False, True]
    assert sorted(path.name for path in model.folder.iterdir()) == ["corral-model.json", FILE]
    assert model.source == server.url("/b")
    assert model.path.read_bytes() == CONTENT


async def test_a_pull_killed_midway_leaves_no_model_and_the_next_continues_it(
    tmp_path: Path, server: FileServer
) -> None:
    server.hold_after = 2 * 2**20
    program = f"""
import asyncio
from pathlib import Path
from corral.weights.store import Store
def say(progress):
    if progress.done >= 2**20:
        print("under way", flush=True)
asyncio.run(Store(Path({str(tmp_path)!r})).pull({server.url("/a") + "#sha256=" + SHA256!r}, say))
"""
    puller = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert puller.stdout is not None
    assert await puller.stdout.readline() == b"under way\n"
    puller.kill()
    await puller.wait()
    store = Store(tmp_path)
    name = server.url("/a") + "#sha256=" + SHA256

    assert store.list() == ()
    with pytest.raises(ModelMissingError):
        store.path(name)

    server.go_on.set()
    model = await store.pull(name)

    asked = server.ranges()[-1]
    assert asked is not None
    assert int(asked.removeprefix("bytes=").removesuffix("-")) > 0
    assert model.path.read_bytes() == CONTENT


async def test_a_part_that_was_complete_is_taken_without_fetching_a_byte(tmp_path: Path, server: FileServer) -> None:
    """What a kill between the last byte and the checksum leaves behind."""
    etag = hashlib.md5(CONTENT).hexdigest()
    incoming = tmp_path / ".incoming" / "tiny"
    incoming.mkdir(parents=True)
    (incoming / f"{FILE}.part").write_bytes(CONTENT)
    (incoming / f"{FILE}.part.json").write_text(f'{{"url": "{server.url("/a")}", "validator": "\\"{etag}\\""}}')

    model = await a_store(tmp_path, an_entry(url(server, "/a"))).pull("tiny")

    assert server.ranges() == [f"bytes={len(CONTENT)}-"]
    assert model.path.read_bytes() == CONTENT


async def test_a_cancelled_pull_continues_later(tmp_path: Path, server: FileServer) -> None:
    server.hold_after = 2 * 2**20
    store = a_store(tmp_path, an_entry(url(server, "/a")))
    arrived = asyncio.Event()
    pulling = asyncio.create_task(
        store.pull("tiny", lambda progress: arrived.set() if progress.done >= 2**20 else None)
    )
    await arrived.wait()
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    server.go_on.set()

    model = await store.pull("tiny")

    assert server.ranges()[-1] is not None
    assert model.path.read_bytes() == CONTENT


async def test_files_of_a_model_that_were_whole_are_not_fetched_again(tmp_path: Path, server: FileServer) -> None:
    files = tuple(ModelFile(name=name, size=Bytes(len(CONTENT)), sha256=SHA256) for name in ("one", "two"))
    source = UrlSource(urls={"one": server.url("/a"), "two": server.url("/later")})
    entry = Entry(name="pair", key="pair", files=files, sources=(source,))
    with pytest.raises(PullError):
        await a_store(tmp_path, entry).pull("pair")
    server.files["/later"] = CONTENT

    model = await a_store(tmp_path, entry).pull("pair")

    assert [request.path for request in server.seen] == ["/a", "/later", "/later"]
    assert model.path == model.folder == tmp_path / "pair"


async def test_a_hugging_face_token_goes_to_its_host_alone(tmp_path: Path, server: FileServer) -> None:
    async with serving(FileServer(files={"/blob": CONTENT})) as storage:
        target = storage.url("/blob").replace("127.0.0.1", "localhost")
        server.redirects["/some/repo/resolve/main/folder/tiny.bin"] = (target, {"X-Linked-ETag": f'"{SHA256}"'})
        store = a_store(tmp_path, hugging_face=server.base, hugging_face_token="hf_secret")

        model = await store.pull("hf:some/repo/folder/tiny.bin")

        assert server.seen[0].headers["Authorization"] == "Bearer hf_secret"
        assert "Authorization" not in storage.seen[0].headers
        assert model.path.read_bytes() == CONTENT


async def test_a_redirect_to_another_scheme_is_refused_before_anything_is_asked_there(
    tmp_path: Path, server: FileServer
) -> None:
    server.redirects["/some/repo/resolve/main/tiny.bin"] = ("file:///etc/passwd", {})

    with pytest.raises(PullError, match="the redirect is to file"):
        await a_store(tmp_path, hugging_face=server.base).pull("hf:some/repo/tiny.bin")


async def test_a_hugging_face_file_is_held_to_the_checksum_its_host_promises(
    tmp_path: Path, server: FileServer
) -> None:
    promise = {"X-Linked-ETag": f'"{"0" * 64}"'}
    server.redirects["/some/repo/resolve/main/tiny.bin"] = (server.url("/a"), promise)

    with pytest.raises(PullError, match="instead of 0000"):
        await a_store(tmp_path, hugging_face=server.base).pull("hf:some/repo/tiny.bin")


async def test_a_gated_model_says_what_to_do_and_keeps_the_token_secret(tmp_path: Path, server: FileServer) -> None:
    server.refuse_with = [403]
    store = a_store(tmp_path, hugging_face=server.base, hugging_face_token="hf_secret")

    with pytest.raises(PullError) as raised:
        await store.pull("hf:some/repo/tiny.bin")

    assert "HF_TOKEN" in (raised.value.hint or "")
    assert "hf_secret" not in str(raised.value)
    assert "hf_secret" not in repr(Connections(hugging_face_token="hf_secret"))
