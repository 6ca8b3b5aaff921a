"""`onnx` in its worker process, on its real models: pictures are made, enlarged and checked."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from corral.engines.onnx.pictures import read_picture, write_png
from corral.work import Engine, Produced, TaskInvalidError
from doubles.local_engines import ENLARGES, FACES, FINDS_FACES, RATES, Remembering, a_work, real_models

SEED = 7
"""A face that the detector is sure of."""


Run = Callable[..., Awaitable[Produced]]


@pytest.fixture
def run(engine: Callable[..., Engine], tmp_path: Path) -> Run:
    """Runs tasks one after the other on one slot."""
    real_models(FACES, ENLARGES, FINDS_FACES, RATES)
    onnx = engine("onnx")

    async def run(model: str, picture: Path | None = None, **inputs: float) -> Produced:
        files = {"picture": picture} if picture is not None else None
        return await onnx.run(a_work("onnx", tmp_path, model=model, files=files, **inputs), Remembering())

    return run


async def test_face_of_a_seed_is_the_same_each_time_and_a_variant_resembles_it(run: Run) -> None:
    face, again, variant, other = [
        await run(FACES, seed=SEED),
        await run(FACES, seed=SEED),
        await run(FACES, seed=SEED, variant=1),
        await run(FACES, seed=SEED, variant=1, variation=1.0),
    ]
    pictures = [produced.files[0].path for produced in (face, again, variant, other)]
    assert face.values == {"width": 64, "height": 64, "seed": SEED, "variant": 0}
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    drawn, _, near, far = (read_picture(path, path.name, 10_000).astype(float) for path in pictures)
    assert 0 < abs(near - drawn).mean() < abs(far - drawn).mean()


async def test_face_is_enlarged_found_and_rated(run: Run) -> None:
    face = (await run(FACES, seed=SEED)).files[0].path
    enlarged = await run(ENLARGES, face)
    large = enlarged.files[0].path

    faces = await run(FINDS_FACES, large)
    rated = await run(RATES, large)

    assert enlarged.values == {"width": 256, "height": 256, "scale": 4}
    assert (faces.values["faces"], faces.values["face_score"] > 0.5) == (1, True)
    (box,) = json.loads(faces.files[0].path.read_text())["boxes"]
    left, top, width, height = box["box"]
    assert 0 <= left < left + width <= 256
    assert 0 <= top < top + height <= 256
    assert width * height > 256 * 256 / 8
    assert rated.values["nsfw"] < 0.5


async def test_plain_picture_has_no_face(run: Run, tmp_path: Path) -> None:
    write_png(tmp_path / "plain.png", np.full((300, 200, 3), 128, np.uint8))
    assert (await run(FINDS_FACES, tmp_path / "plain.png")).values == {"faces": 0, "face_score": 0.0}


async def test_enlarged_picture_looks_like_the_small_one_across_the_borders_of_tiles(run: Run, tmp_path: Path) -> None:
    across, down = np.meshgrid(np.arange(150) / 25, np.arange(90) / 25)
    scene = np.stack([np.sin(across), np.cos(down), np.sin(across + down)], axis=-1)
    small = ((scene + 1) * 127).astype(np.uint8)
    write_png(tmp_path / "small.png", small)

    large = (await run(ENLARGES, tmp_path / "small.png")).files[0].path
    again = (await run(ENLARGES, tmp_path / "small.png")).files[0].path

    pixels = read_picture(large, "large.png", 1_000_000).astype(np.float32)
    assert pixels.shape == (360, 600, 3)
    assert abs(pixels.reshape(90, 4, 150, 4, 3).mean(axis=(1, 3)) - small).mean() < 6
    across_borders = abs(np.diff(pixels, axis=1)).mean(axis=(0, 2))[[255, 511]]
    assert across_borders.max() < 3 * abs(np.diff(pixels, axis=1)).mean()
    assert large.read_bytes() == again.read_bytes()


async def test_missing_and_unwanted_pictures_are_refused(run: Run, tmp_path: Path) -> None:
    write_png(tmp_path / "plain.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(TaskInvalidError, match="needs a picture"):
        await run(ENLARGES)
    with pytest.raises(TaskInvalidError, match="takes none"):
        await run(FACES, tmp_path / "plain.png")


async def test_file_that_is_not_a_picture_fails_the_task_by_its_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hull.png").write_text("not a picture")
    with pytest.raises(TaskInvalidError, match=r"'picture' is not a picture"):
        await run(FINDS_FACES, tmp_path / "hull.png")
