"""Pictures of the engine `onnx`: read within a bound, written as PNG, and resized."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from corral.engines.onnx.pictures import Pixels, PngWriter, read_picture, resize, write_png
from corral.work import TaskInvalidError

MOST = 1_000_000


def a_scene(side: int, *, shift: int = 0) -> Pixels:
    """Soft hills of colour, the same at every size."""
    across, down = np.meshgrid(*(np.arange(side) / side * 6.0,) * 2)
    planes = [np.sin(across + shift), np.cos(down * 1.3), np.sin(across * down / 4 + shift)]
    return ((np.stack(planes, axis=-1) + 1) * 127).astype(np.uint8)


def encode_png(picture: Pixels) -> bytes:
    target = io.BytesIO()
    writer = PngWriter(target, picture.shape[1], picture.shape[0])
    writer.write(picture)
    writer.close()
    return target.getvalue()


def encode_jpeg(picture: Pixels) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = picture.shape[1], picture.shape[0]
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
    packets: list[Any] = [*encoder.encode(frame), *encoder.encode(None)]  # Any: their type is open in PyAV's stubs
    return b"".join(bytes(packet) for packet in packets)


def test_picture_that_is_written_in_parts_is_read_as_it_was(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (37, 23, 3), np.uint8)
    with (tmp_path / "parts.png").open("wb") as target:
        writer = PngWriter(target, 23, 37)
        for top in range(0, 37, 10):
            writer.write(picture[top : top + 10])
        writer.close()

    assert (read_picture(tmp_path / "parts.png", "parts.png", MOST) == picture).all()


def test_same_picture_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, a_scene(64))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_is_not_a_picture_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "stored").write_bytes(b"not a picture" * 100)
    with pytest.raises(TaskInvalidError, match=r"'hull\.png' is not a picture that can be read"):
        read_picture(tmp_path / "stored", "hull.png", MOST)


@pytest.mark.parametrize("encode", [encode_png, encode_jpeg])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_picture_that_is_cut_off_is_refused(encode: Callable[[Pixels], bytes], share: float, tmp_path: Path) -> None:
    whole = encode(np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8))
    (tmp_path / "whole").write_bytes(whole)
    assert read_picture(tmp_path / "whole", "whole", MOST).shape == (64, 64, 3)

    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(TaskInvalidError, match=r"'cut' (is not a picture that can be read|.* is cut off)"):
        read_picture(tmp_path / "cut", "cut", MOST)


def test_picture_above_the_bound_of_pixels_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "large.png", np.zeros((200, 300, 3), np.uint8))
    assert read_picture(tmp_path / "large.png", "large.png", 60_000).shape == (200, 300, 3)
    with pytest.raises(TaskInvalidError, match=r"more than 59,999 pixels") as refusal:
        read_picture(tmp_path / "large.png", "large.png", 59_999)
    assert "mostPixels" in (refusal.value.hint or "")


def test_file_of_another_kind_is_not_opened_as_a_list_of_files(tmp_path: Path) -> None:
    write_png(tmp_path / "secret.png", a_scene(64))
    (tmp_path / "list").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'secret.png'}\n")
    with pytest.raises(TaskInvalidError, match="is not a picture"):
        read_picture(tmp_path / "list", "list.png", MOST)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (5, 90), (128, 7)])
def test_resized_picture_keeps_its_mean_and_a_plain_surface_stays_plain(height: int, width: int) -> None:
    scene = a_scene(64).astype(np.float32)
    assert resize(scene, height, width).shape == (height, width, 3)
    assert resize(scene, height, width).mean() == pytest.approx(scene.mean(), rel=0.02)
    assert resize(np.full((64, 64), 9.0, np.float32), height, width) == pytest.approx(9.0)
