"""What a GPU encodes and decodes, by its generation and model; unknown where nothing says."""

from __future__ import annotations

import pytest

from corral.hardware.catalogue import find_one_gpu
from corral.hardware.video import SESSIONS_OF_GEFORCE, SESSIONS_OF_OTHERS, find_video


@pytest.mark.parametrize(
    ("model", "encoders", "decoders", "has_av1"),
    [
        ("RTX 3090", 1, 1, False),
        ("RTX 3060 12GB", 1, 1, False),
        ("RTX 4090", 2, 1, True),
        ("RTX 5070 Ti", 2, 1, True),
        ("RTX 5090", 3, 2, True),
        ("A100 PCIe 40 GB", 0, 5, False),
        ("H100 PCIe 80 GB", 0, 7, False),
        ("GT 1030", 0, None, False),
    ],
)
def test_engines_and_av1_of_a_model(model: str, encoders: int, decoders: int | None, has_av1: bool) -> None:
    video = find_video(find_one_gpu(model))
    assert video is not None
    assert (video.encoders, video.decoders, "AV1" in video.encodes) == (encoders, decoders, has_av1)


def test_sessions_are_limited_on_geforce_alone() -> None:
    geforce, professional = (find_video(find_one_gpu(name)) for name in ("RTX 4090", "RTX 6000 Ada"))
    assert geforce is not None
    assert professional is not None
    assert (geforce.sessions, professional.sessions) == (SESSIONS_OF_GEFORCE, SESSIONS_OF_OTHERS)


@pytest.mark.parametrize("model", ["RX 7900 XTX", "Arc B580", "Apple M4", "Jetson Orin Nano 8GB"])
def test_what_is_not_in_the_table_is_unknown(model: str) -> None:
    assert find_video(find_one_gpu(model)) is None
