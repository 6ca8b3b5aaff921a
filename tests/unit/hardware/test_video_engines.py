"""What a GPU encodes and decodes, by its generation and model; unknown where nothing says."""

from __future__ import annotations

import pytest

from corral.hardware.catalogue import find_one_gpu, list_matching
from corral.hardware.video import SESSIONS_BY_MODEL, SESSIONS_OF_GEFORCE, SESSIONS_OF_LARGE, find_video


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


@pytest.mark.parametrize(
    ("model", "sessions"),
    [
        ("RTX 4090", SESSIONS_OF_GEFORCE),
        ("GTX 1660", SESSIONS_OF_GEFORCE),
        ("RTX 6000 Ada", SESSIONS_OF_LARGE),
        ("RTX A4000", SESSIONS_OF_LARGE),
        ("RTX PRO 6000 Blackwell", SESSIONS_OF_LARGE),
        ("L40S", SESSIONS_OF_LARGE),
        ("Tesla T4", SESSIONS_OF_LARGE),
        ("Quadro P620", SESSIONS_BY_MODEL),
        ("T1000", SESSIONS_BY_MODEL),
        ("TITAN RTX", SESSIONS_BY_MODEL),
    ],
)
def test_sessions_are_those_of_the_family(model: str, sessions: str) -> None:
    matching = {video.sessions for entry in list_matching(model) if (video := find_video(entry))}
    assert matching == {sessions}


def test_one_chip_of_maxwell_decodes_hevc() -> None:
    later, other = (find_video(find_one_gpu(name)) for name in ("GTX 960", "GTX 980"))
    assert later is not None
    assert other is not None
    assert ("HEVC" in later.decodes, "HEVC" in other.decodes) == (True, False)


@pytest.mark.parametrize("model", ["RX 7900 XTX", "Arc B580", "Apple M4", "Jetson Orin Nano 8GB", "CMP 50HX"])
def test_what_is_not_in_the_table_is_unknown(model: str) -> None:
    assert find_video(find_one_gpu(model)) is None
