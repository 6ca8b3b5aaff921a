"""The gallery's routes: pages of pictures by what they were made with, thumbnails made once, archives."""

from __future__ import annotations

import hashlib
import io
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

from corral.server.services import Services
from corral.server.thumbnails import MOST_PIXELS, ThumbnailError, shrink
from corral.tasks.values import Sha256
from doubles.serving import Serving

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
