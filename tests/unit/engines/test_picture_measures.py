"""Measures of pictures, on pictures whose values are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corral.engine_kinds import INSPECT
from corral.engines.inspect.measuring import HASH_SIDE, Brightness, hash_picture, measure_sharpness
from corral.engines.inspect.worker import measure
from doubles.comfyui_nodes import picture


def count_bits(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.fixture
def scene() -> Brightness:
    """Soft hills with noise: it has all frequencies, as photographs have."""
    rows, columns = np.mgrid[0:HASH_SIDE, 0:HASH_SIDE]
    noise = np.random.default_rng(7).normal(0, 8, (HASH_SIDE, HASH_SIDE))
    return 128 + 60 * np.sin(rows / 5) + 40 * np.cos(columns / 7 + rows / 11) + noise


def test_one_colour_has_no_sharpness_and_a_chessboard_has_what_the_formula_says() -> None:
    board = np.indices((8, 8)).sum(axis=0) % 2 * 10.0

    assert measure_sharpness(np.full((8, 8), 77.0)) == 0
    assert measure_sharpness(board) == 40**2, "each Laplacian is 40 or -40, as often"
    assert measure_sharpness(board[:2]) == 0


def test_hash_of_a_brighter_or_slightly_noisy_picture_is_near_and_that_of_another_is_far(scene: Brightness) -> None:
    noisy = scene + np.random.default_rng(8).normal(0, 3, scene.shape)
    other = np.rot90(scene)

    assert hash_picture(scene + 20) == hash_picture(scene)
    assert count_bits(hash_picture(scene), hash_picture(noisy)) <= 6
    assert count_bits(hash_picture(scene), hash_picture(other)) >= 16


def test_a_file_is_measured_as_the_engine_says(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    path.write_bytes(picture(seed=5, prompt="a fox", width=64, height=48))

    measured = measure(path)

    assert measured.keys() == {value.name for value in INSPECT.values}
    assert (measured["decodable"], measured["width"], measured["height"]) == (1, 64, 48)
    assert measured["spread"] > 0
    assert len(measured["phash"]) == 16


@pytest.mark.parametrize("content", [b"", b"not a picture", picture(seed=5, prompt="a fox")[:90]])
def test_a_file_that_is_not_a_picture_is_measured_as_that(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dot.png"
    path.write_bytes(content)

    assert measure(path) == {"decodable": 0}
