"""Cards of a node become one pool, its classes, and the profiles that workloads are matched with."""

from __future__ import annotations

import re

import pytest

from corral.cluster.values import Cluster, Gpu, Node, Workload
from corral.hardware.pools import (
    GpuPool,
    ResourceProfile,
    WorkloadProfile,
    list_pools,
    list_resource_profiles,
    list_workload_profiles,
    make_pool,
    name_class,
)
from corral.units import Bytes
from doubles.gpu_models import every_model

GIB = 2**30
LABEL_VALUE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9]")


def a_card(index: int, model: str | None, gib: float | None) -> Gpu:
    return Gpu(index=index, model=model, memory=None if gib is None else Bytes(round(gib * GIB)))


def a_node(*cards: Gpu) -> Node:
    return Node(name="compute", gpus=cards)


BEFORE = a_node(a_card(0, "RTX 5070 Ti", 16), a_card(1, "RTX 3060 12 GB", 12))
AFTER = a_node(a_card(0, "RTX 5070 Ti", 16), a_card(1, "RTX 5070 Ti", 16))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("RTX 5070 Ti", "5070ti"),
        ("NVIDIA GeForce RTX 5070 Ti", "5070ti"),
        ("RTX 3060 12 GB", "3060"),
        ("3060 12GB", "3060"),
        ("RTX A4000", "a4000"),
        ("RTX 4070 Ti SUPER", "4070tisuper"),
        ("RTX 4090 Mobile", "4090mobile"),
        ("A100 SXM4 80 GB", "a100sxm4"),
        ("Radeon RX 7900 XTX", "rx7900xtx"),
        ("Radeon Instinct MI300X", "mi300x"),
        ("Arc B580", "arcb580"),
        ("Quadro RTX 4000", "quadrortx4000"),
    ],
)
def test_a_model_has_the_class_that_people_call_it(model: str, name: str) -> None:
    assert name_class(model) == name


def test_cards_of_two_makers_with_one_number_have_different_classes() -> None:
    assert name_class("GTX 480") != name_class("Radeon RX 480")


def test_every_class_is_a_valid_label_value() -> None:
    assert [model.name for model in every_model() if not LABEL_VALUE.fullmatch(name_class(model.name))] == []


def test_two_models_make_a_mixed_pool_with_its_classes_listed() -> None:
    assert make_pool(BEFORE) == GpuPool(
        node="compute",
        gpu_class="5070ti-3060",
        classes=("5070ti", "3060"),
        count=2,
        homogeneous=False,
        total_vram=Bytes(28 * GIB),
        available_slots=2,
    )


def test_two_cards_of_one_model_make_a_homogeneous_pool() -> None:
    pool = make_pool(AFTER)
    assert pool is not None
    assert (pool.gpu_class, pool.homogeneous, pool.total_vram) == ("5070ti", True, 32 * GIB)


def test_one_model_with_two_memory_sizes_is_not_homogeneous() -> None:
    pool = make_pool(a_node(a_card(0, "RTX 3060 12 GB", 12), a_card(1, "RTX 3060 8 GB", 8)))
    assert pool is not None
    assert (pool.classes, pool.homogeneous) == (("3060",), False)


def test_cards_whose_model_nobody_stated_are_never_called_the_same() -> None:
    pool = make_pool(a_node(a_card(0, None, 16), a_card(1, None, 16)))
    assert pool is not None
    assert (pool.gpu_class, pool.homogeneous) == ("unknown", False)


def test_a_card_of_unknown_memory_leaves_the_total_unknown() -> None:
    pool = make_pool(a_node(a_card(0, "RTX 5090", 32), a_card(1, None, None)))
    assert pool is not None
    assert pool.total_vram is None
    assert pool.available_slots == 2


def test_a_card_without_memory_of_its_own_takes_no_task() -> None:
    pool = make_pool(a_node(a_card(0, "Radeon 8060S", 0)))
    assert pool is not None
    assert (pool.count, pool.available_slots, pool.total_vram) == (1, 0, 0)


@pytest.mark.parametrize("gpus", [(), None])
def test_a_node_without_known_cards_is_no_pool(gpus: tuple[Gpu, ...] | None) -> None:
    node = Node(name="storage", gpus=gpus)
    assert make_pool(node) is None
    assert list_resource_profiles(node) == ()
    assert list_pools(Cluster(name="c", nodes=(node, AFTER))) == (make_pool(AFTER),)


def test_a_mixed_pool_offers_one_profile_for_each_class() -> None:
    assert list_resource_profiles(BEFORE) == (
        ResourceProfile(
            name="compute-5070ti",
            node="compute",
            gpu_class="5070ti",
            vram_per_gpu=Bytes(16 * GIB),
            max_workloads=1,
            parallel_capable=False,
        ),
        ResourceProfile(
            name="compute-3060",
            node="compute",
            gpu_class="3060",
            vram_per_gpu=Bytes(12 * GIB),
            max_workloads=1,
            parallel_capable=False,
        ),
    )


def test_a_homogeneous_pool_offers_a_single_profile() -> None:
    assert list_resource_profiles(AFTER) == (
        ResourceProfile(
            name="compute",
            node="compute",
            gpu_class="5070ti",
            vram_per_gpu=Bytes(16384 * 2**20),
            max_workloads=2,
            parallel_capable=True,
        ),
    )


def test_a_class_offers_what_its_smallest_card_has() -> None:
    (profile,) = list_resource_profiles(a_node(a_card(0, "RTX 3060 12 GB", 12), a_card(1, "RTX 3060 8 GB", 8)))
    assert profile.vram_per_gpu == 8 * GIB


def test_cards_of_unknown_model_are_no_pool_for_one_task() -> None:
    (profile,) = list_resource_profiles(a_node(a_card(0, None, 16), a_card(1, None, 16)))
    assert profile.parallel_capable is False


def test_a_workload_fits_where_its_memory_does_and_is_undecided_where_a_size_is_unknown() -> None:
    training = WorkloadProfile(name="t", min_vram=Bytes(14 * GIB), prefer_node=None, parallel_capable=True)
    larger, smaller = list_resource_profiles(BEFORE)
    (unknown,) = list_resource_profiles(a_node(a_card(0, "RTX 5090", None)))
    (nothing,) = list_resource_profiles(a_node(a_card(0, "Radeon 8060S", 0)))

    assert [training.fits(profile) for profile in (larger, smaller, unknown, nothing)] == [True, False, None, False]


def test_workload_profiles_are_those_of_the_file() -> None:
    images = Workload(name="images", engine="comfyui", min_vram=Bytes(10 * GIB), prefer_node="compute")
    assert list_workload_profiles(Cluster(name="c", nodes=(), workloads={"images": images})) == (
        WorkloadProfile(name="images", min_vram=Bytes(10 * GIB), prefer_node="compute", parallel_capable=False),
    )


def test_cards_of_one_name_with_different_memory_are_no_homogeneous_pool() -> None:
    cards = tuple(Gpu(index=index, model="RTX 3080", memory=Bytes(gib * 2**30)) for index, gib in enumerate((10, 12)))

    pool = make_pool(Node(name="n", gpus=cards))

    assert pool is not None
    assert not pool.homogeneous


def test_a_workload_that_takes_a_whole_card_fits_it() -> None:
    (offer,) = list_resource_profiles(Node(name="n", gpus=(Gpu(index=0, model="RTX 3080", memory=Bytes(2**30)),)))
    asked = WorkloadProfile(name="w", min_vram=Bytes(2**30), prefer_node=None, parallel_capable=False)

    assert asked.fits(offer)
