"""The gallery's routes: pages of pictures by what they were made with, thumbnails made once, archives."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from corral.client.api import Api
from corral.client.data_sets import OtherFolderError, write_data_set
from corral.engines.pictures import MOST_PIXELS
from corral.server.services import Services
from corral.server.thumbnails import ThumbnailError, shrink
from corral.tasks.store.tokens import create_token
from corral.tasks.values import Sha256
from corral.work import Json
from doubles.serving import Serving, serving

SIZES = {"wide.png": (600, 300), "tall.png": (30, 500)}


def draw(width: int, height: int) -> bytes:
    """A PNG with a colour that its size gives."""
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    encoder.time_base = Fraction(1, 25)
    frame = VideoFrame.from_ndarray(np.full((height, width, 3), width % 255, dtype=np.uint8), format="rgb24")
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


async def make_pictures(api: Serving, services: Services, tmp_path: Path, prompt: str) -> tuple[int, dict[str, str]]:
    """A task that ended with two pictures and a text; the pictures' digests by name."""
    inputs = {"seconds": 0}
    task = (await api.post("/corral/v1/tasks", {"engine": "sleep", "inputs": inputs})).json["id"]
    digests: dict[str, str] = {}
    files = {name: draw(*size) for name, size in SIZES.items()} | {"note.txt": b"text"}
    for name, body in files.items():
        source = tmp_path / f"{task}-{name}"
        source.write_bytes(body)
        services.artifacts.adopt(source)
        digests[name] = hashlib.sha256(body).hexdigest()
        await services.pool.execute(
            "insert into outputs (task_id, name, sha256, size, media_type) values ($1, $2, $3, $4, $5)",
            *(task, name, bytes.fromhex(digests[name]), len(body), "text/plain" if name == "note.txt" else "image/png"),
        )
    await services.pool.execute(
        "update tasks set inputs = $2, model = 'sdxl' where id = $1", task, {"prompt": prompt, "seed": 7}
    )
    return task, digests


async def test_pictures_are_listed_by_what_made_them_page_by_page(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    hens, _ = await make_pictures(api, services, tmp_path, "three hens")
    foxes, _ = await make_pictures(api, services, tmp_path, "100% fox")
    first = (await api.get("/corral/v1/pictures?limit=3")).json
    assert [(item["task"], item["name"]) for item in first["items"]] == [
        (foxes, "wide.png"), (foxes, "tall.png"), (hens, "wide.png"),
    ]  # fmt: skip
    second = (await api.get(f"/corral/v1/pictures?limit=3&cursor={first['next']}")).json
    assert ([(item["task"], item["name"]) for item in second["items"]], second["next"]) == ([(hens, "tall.png")], None)
    assert first["items"][0] | {"made_at": None} == {
        "task": foxes, "name": "wide.png", "sha256": first["items"][0]["sha256"], "size": first["items"][0]["size"],
        "media_type": "image/png", "task_name": "sleep", "owner": "local", "batch": None, "engine": "sleep",
        "model": "sdxl", "prompt": "100% fox", "seed": "7", "made_at": None,
        "labels": {}, "decision": None, "note": "",
    }  # fmt: skip
    queries = {"search=HENS": 2, "search=0%25": 2, "seed=7&model=SD": 4, "seed=8": 0, "owner=ada": 0, "batch=1": 0}
    counts = {query: len((await api.get(f"/corral/v1/pictures?{query}")).json["items"]) for query in queries}
    assert counts == queries


async def test_a_thumbnail_is_made_once_and_what_cannot_be_read_is_refused(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    task, digests = await make_pictures(api, services, tmp_path, "hens")
    for name, expected in (("wide.png", (256, 128)), ("tall.png", (16, 256))):
        path = f"/corral/v1/artifacts/{digests[name]}/thumbnail"
        made = await api.get(path)
        assert (made.status, made.headers["content-type"]) == (200, "image/jpeg")
        with av.open(io.BytesIO(made.body)) as small:
            context = small.streams.video[0].codec_context
            assert (context.width, context.height) == expected
        kept = next((services.data_dir / "thumbnails").rglob(f"{digests[name]}.jpg"))
        kept.write_bytes(b"kept")
        assert (await api.get(path)).body == b"kept"
    refused = await api.get(f"/corral/v1/artifacts/{digests['note.txt']}/thumbnail")
    assert (refused.status, refused.json["error"]["code"]) == (422, "thumbnail.impossible")
    assert (await api.get(f"/corral/v1/artifacts/{'0' * 64}/thumbnail")).status == 404

    archive = await api.get(f"/corral/v1/pictures/archive?of={task}/wide.png&of={task}/gone.png&of={task}/note.txt")
    with zipfile.ZipFile(io.BytesIO(archive.body)) as whole:
        assert whole.namelist() == [f"{task}-wide.png"]
        assert whole.read(f"{task}-wide.png") == draw(*SIZES["wide.png"])


async def test_an_archive_has_every_picture_under_its_own_name_and_none_that_was_changed(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    task, digests = await make_pictures(api, services, tmp_path, "hens")
    for old, new in (("wide.png", "a/b.png"), ("tall.png", "a-b.png")):
        await services.pool.execute("update outputs set name = $2 where name = $1", old, new)
    tall = services.artifacts.locate(Sha256(digests["tall.png"]))
    os.utime(tall, (0, 0))  # before a ZIP can tell the time
    path = f"/corral/v1/pictures/archive?of={task}/a-b.png&of={task}/a/b.png"
    with zipfile.ZipFile(io.BytesIO((await api.get(path)).body)) as whole:
        assert {name: whole.read(name) for name in whole.namelist()} == {
            f"{task}-a-b.png": draw(*SIZES["tall.png"]), f"2-{task}-a-b.png": draw(*SIZES["wide.png"]),
        }  # fmt: skip
        assert whole.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
    tall.chmod(0o600)
    tall.write_bytes(b"other")
    refused = await api.get(path)
    assert (refused.status, refused.json["error"]["code"]) == (409, "artifact.damaged")


MEASURE = """
import resource, sys
from pathlib import Path
import av
from corral.server.thumbnails import ThumbnailError, shrink
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    shrink(Path(sys.argv[1]))
except ThumbnailError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, error)
"""


def test_a_picture_above_the_bound_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    side = 10_400
    header = side.to_bytes(4) * 2 + bytes((8, 0, 0, 0, 0))  # 8 bits of gray
    packed = zlib.compressobj(1)
    rows = b"".join(packed.compress(bytes(side + 1)) for _ in range(side)) + packed.flush()
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    source = tmp_path / "large"
    source.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4) for kind, body in chunks)
    )
    assert side**2 > MOST_PIXELS
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, str(source)], capture_output=True, text=True, check=True, timeout=60
    )
    mebibytes, _, reason = measured.stdout.partition(" ")
    assert "is above" in reason
    assert int(mebibytes) < 50  # decoded, it has 103


def test_a_list_of_files_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(draw(20, 10))
    shrink(tmp_path / "picture")
    (tmp_path / "list").write_text("ffconcat version 1.0\nfile picture\n")
    with pytest.raises(ThumbnailError, match="not a picture"):
        shrink(tmp_path / "list")


async def test_decisions_are_kept_with_their_notes_and_choose_pictures(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    hens, _ = await make_pictures(api, services, tmp_path, "hens")
    places = [f"{hens}/tall.png", f"{hens}/wide.png"]
    path = "/corral/v1/pictures/decisions"
    kept = await api.post(path, {"of": places, "decision": "keep", "note": "good eyes"})
    assert [(item["name"], item["decision"], item["note"]) for item in kept.json["items"]] == [
        ("tall.png", "keep", "good eyes"), ("wide.png", "keep", "good eyes"),
    ]  # fmt: skip
    changed = await api.post(path, {"of": places[:1], "decision": "reject"})
    assert (changed.json["items"][0]["decision"], changed.json["items"][0]["note"]) == ("reject", "good eyes")
    await services.pool.execute("""update tasks set labels = '{"character": "elena"}' where id = $1""", hens)

    async def choose(query: str) -> list[str]:
        return [item["name"] for item in (await api.get(f"/corral/v1/pictures?{query}")).json["items"]]

    assert await choose("decision=keep&decision=favourite") == ["wide.png"]
    assert await choose("decision=reject&label=character=elena") == ["tall.png"]
    assert await choose("label=character=marta") == []
    assert await choose("decided=false") == []
    await api.post(path, {"of": places, "decision": None, "note": ""})
    assert await choose("decided=false") == ["wide.png", "tall.png"]


async def test_a_decision_is_whole_and_about_pictures_of_ones_own(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    hens, _ = await make_pictures(api, services, tmp_path, "hens")
    path = "/corral/v1/pictures/decisions"
    wrong = await api.post(path, {"of": [f"{hens}/tall.png", f"{hens}/note.txt", "99/gone.png"], "decision": "keep"})
    assert wrong.status == 404
    assert [problem["where"] for problem in wrong.json["error"]["problems"]] == [f"{hens}/note.txt", "99/gone.png"]
    assert (await api.get("/corral/v1/pictures?decision=keep")).json["items"] == []
    invalid: list[Json] = [{"of": [], "decision": "keep"}, {"of": ["1/a.png"], "decision": "best"}, {"of": ["1/a.png"]}]
    for body in invalid:
        assert (await api.post(path, body)).status == 422
    _, bob = await create_token(services.pool, name="bob", role="submitter")
    async with serving(services) as guarded:
        asked = {"of": [f"{hens}/tall.png"], "decision": "keep"}
        assert (await guarded.post(path, asked, headers={"Authorization": f"Bearer {bob}"})).status == 403


async def test_a_data_set_has_captions_and_a_manifest_and_is_the_same_twice(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    hens, digests = await make_pictures(api, services, tmp_path, "three\nhens")
    foxes, _ = await make_pictures(api, services, tmp_path, "a fox")
    await api.post(
        "/corral/v1/pictures/decisions", {"of": [f"{hens}/tall.png", f"{foxes}/wide.png"], "decision": "keep"}
    )
    query = "decision=keep&trigger=ohwx"
    manifest = (await api.get(f"/corral/v1/pictures/data-set?{query}")).json
    assert [(entry["file"], entry["caption"]) for entry in manifest["pictures"]] == [
        (f"{hens}.png", "ohwx, three hens"), (f"{foxes}.png", "ohwx, a fox"),
    ]  # fmt: skip
    path = f"/corral/v1/pictures/data-set/archive?{query}"
    archive = (await api.get(path)).body
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        assert {*opened.namelist()} == {
            f"{hens}.png", f"{hens}.txt", f"{foxes}.png", f"{foxes}.txt", "manifest.json",
        }  # fmt: skip
        assert opened.read(f"{hens}.txt") == b"ohwx, three hens\n"
        assert hashlib.sha256(opened.read(f"{hens}.png")).hexdigest() == digests["tall.png"]
        assert json.loads(opened.read("manifest.json")) == manifest
    assert (await api.get(path)).body == archive


async def test_a_folder_is_exactly_its_data_set_whenever_it_is_written_again(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    hens, digests = await make_pictures(api, services, tmp_path, "hens")
    folder = tmp_path / "elena"
    async with Api(api.url, None) as client:
        await check_folder(api, client, folder, hens, digests)


async def check_folder(api: Serving, client: Api, folder: Path, hens: int, digests: dict[str, str]) -> None:
    assert (await write_data_set(client, [], folder)).removed == 0
    whole = read_folder(folder)
    assert {*whole} == {f"{hens}-tall.png", f"{hens}-tall.txt", f"{hens}-wide.png", f"{hens}-wide.txt", "manifest.json"}
    assert hashlib.sha256(whole[f"{hens}-wide.png"]).hexdigest() == digests["wide.png"]
    (folder / f"{hens}-wide.png").write_bytes(b"broken")
    (folder / f"{hens}-tall.txt").unlink()
    await write_data_set(client, [], folder)
    assert read_folder(folder) == whole
    await api.post("/corral/v1/pictures/decisions", {"of": [f"{hens}/tall.png"], "decision": "reject"})
    assert (await write_data_set(client, [("decided", "false")], folder)).removed == 4
    assert {*read_folder(folder)} == {f"{hens}.png", f"{hens}.txt", "manifest.json"}
    other = folder.parent / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(OtherFolderError):
        await write_data_set(client, [], other)
    assert read_folder(other) == {"mine.txt": b"mine"}


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
