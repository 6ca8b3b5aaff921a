"""Targets of AMD's GPUs: which kernels ROCm has for them, and what an override stands for."""

from __future__ import annotations

import pytest

from corral.hardware.catalogue import resolve_gpu
from corral.hardware.rocm import find_target, parse_override


@pytest.mark.parametrize(
    ("name", "target"),
    [("Radeon 780M", "gfx1103"), ("RX 7900 XTX", "gfx1100"), ("RX 6700 XT", "gfx1031"), ("R9700", "gfx1201")],
)
def test_a_gpu_has_the_target_of_its_chip(name: str, target: str) -> None:
    model = resolve_gpu(name, memory=16 * 2**30)
    assert model is not None
    of_chip = find_target(model)
    assert of_chip is not None
    assert of_chip.name == target


def test_a_gpu_of_another_maker_has_none() -> None:
    model = resolve_gpu("RTX 3090", memory=None)
    assert model is not None
    assert find_target(model) is None


@pytest.mark.parametrize(("text", "name"), [("11.0.0", "gfx1100"), ("10.3.0", "gfx1030"), ("9.0.10", "gfx90a")])
def test_an_override_names_a_target(text: str, name: str) -> None:
    override = parse_override(text)
    assert override is not None
    assert (override.name, override.major) == (name, int(text.partition(".")[0]))


@pytest.mark.parametrize("text", ["", "11", "gfx1100", "11.0"])
def test_other_texts_are_no_override(text: str) -> None:
    assert parse_override(text) is None
