"""GPU models are found by the names people and drivers use."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.hardware.catalogue import GpuModel, UnknownGpuError, describe, find_gpu

GIB = 2**30


def one(text: str, *, memory: int | None = None) -> GpuModel:
    found = find_gpu(text, memory=memory)
    assert isinstance(found, GpuModel), found
    return found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("RTX 5070 Ti", "RTX 5070 Ti"),
        ("5070ti", "RTX 5070 Ti"),
        ("rtx-5070-ti", "RTX 5070 Ti"),
        ("NVIDIA GeForce RTX 5070 Ti", "RTX 5070 Ti"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("3090Ti", "RTX 3090 Ti"),
        ("3060 12GB", "RTX 3060 12 GB"),
        ("RTX 3060 (12 GiB)", "RTX 3060 12 GB"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 Mobile"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4 80 GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80 GB"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("Tesla T4", "Tesla T4"),
        ("RX 7900 XTX", "Radeon RX 7900 XTX"),
    ],
)
def test_a_model_is_found_by_the_names_people_and_drivers_use(text: str, name: str) -> None:
    assert one(text).name == name


def test_facts_of_the_two_installations_are_those_their_documents_cite() -> None:
    facts = {name: (one(name).memory // GIB, one(name).tdp_w) for name in ("RTX 5070 Ti", "3060 12GB", "4090", "5090")}
    assert facts == {"RTX 5070 Ti": (16, 300), "3060 12GB": (12, 170), "4090": (24, 450), "5090": (32, 575)}


def test_consumer_blackwell_has_cuda_capability_12_0() -> None:
    model = one("RTX 5070 Ti")
    assert model.cuda_capability == (12, 0)
    assert model.architecture is not None
    assert model.architecture.startswith("Blackwell")
    assert model.bandwidth_gb_s == 896


def test_a_name_of_several_models_gives_all_of_them() -> None:
    found = find_gpu("RTX 3060")
    assert isinstance(found, tuple)
    assert {model.memory // GIB for model in found} == {8, 12}


def test_a_family_gives_its_members() -> None:
    found = find_gpu("NVIDIA H100 80GB HBM3")
    assert isinstance(found, tuple)
    assert {model.name for model in found} == {"H100 PCIe 80 GB", "H100 SXM5 80 GB"}


def test_memory_chooses_between_models_of_one_name() -> None:
    assert one("RTX 3060", memory=12 * GIB).name == "RTX 3060 12 GB"
    assert one("NVIDIA GeForce RTX 3060", memory=12 * GIB - 400_000_000).name == "RTX 3060 12 GB"


def test_an_unknown_name_suggests_close_ones() -> None:
    with pytest.raises(UnknownGpuError) as caught:
        find_gpu("RTX 5O70 Ti")
    assert caught.value.hint is not None
    assert "`RTX 5070 Ti`" in caught.value.hint


@pytest.mark.parametrize("text", ["", " ", "zzzzzz", "x" * 10_000, "()", "\n"])
def test_a_name_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UnknownGpuError):
        find_gpu(text)


@settings(deadline=None)  # the first look-up reads the catalogue
@given(st.text(max_size=120))
def test_any_text_is_either_found_or_refused_clearly(text: str) -> None:
    try:
        assert find_gpu(text)
    except UnknownGpuError as error:
        hint = error.hint
    else:
        return
    assert hint


def test_a_model_is_described_in_one_line() -> None:
    assert describe(one("RTX 5070 Ti")) == "RTX 5070 Ti (16.0 GiB, 300 W)"
