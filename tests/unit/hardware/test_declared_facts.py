"""What a cluster file declares, beside the catalogue."""

from __future__ import annotations

import pytest

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.hardware.doubts import Doubt, list_doubts
from corral.hardware.power import find_models

GIB = 2**30


def doubts(gpus: str, *, psu: str = "") -> tuple[Doubt, ...]:
    text = f"apiVersion: corral/v1\nname: x\nnodes: [{{name: a, gpus: [{gpus}]{psu}}}]"
    (node,) = load(text, filename="x", find_gpu=find_gpu).nodes
    return list_doubts(node, find_models([node]))


def test_vram_that_the_model_does_not_have_is_told_with_what_it_has() -> None:
    (doubt,) = doubts("{model: RTX 4090}, {model: RTX 4090, memory: 8Gi}")

    assert doubt.where == "a/gpu1 memory"
    assert "8.0 GiB" in doubt.what
    assert "RTX 4090 has 24.0 GiB (https://www.techpowerup.com/" in doubt.what


@pytest.mark.parametrize(
    "card",
    [
        "{model: RTX 4090, memory: 24564Mi}",  # what its driver says
        "{model: A10 PCIe, memory: 22731Mi}",  # with ECC
        "{model: RTX 3060, memory: 8Gi}",
        "{model: RTX 3060, memory: 12Gi}",
        "{memory: 3Gi, powerLimit: 5}",  # nobody knows this card
        "{model: RTX 4090, powerLimit: 150}",
        "{model: RTX 4090, powerLimit: 600}",
    ],
)
def test_what_drivers_measure_and_cards_take_is_not_doubted(card: str) -> None:
    assert doubts(card) == ()


@pytest.mark.parametrize(("limit", "share"), [(5, "1 %"), (90_000, "20000 %")])
def test_a_power_limit_that_nobody_means_is_told_with_what_the_card_takes(limit: int, share: str) -> None:
    (doubt,) = doubts(f"{{model: RTX 4090, powerLimit: {limit}}}")

    assert doubt.where == "a/gpu0 powerLimit"
    assert doubt.what.startswith(f"{limit} W is {share} of the 450 W that the GPU takes")


def test_a_supply_that_is_weaker_than_one_card_is_told() -> None:
    (doubt,) = doubts("{model: RTX 3060 12GB}, {model: RTX 4090}", psu=", psu: {watts: 5}")

    assert doubt.where == "a psu.watts"
    assert doubt.what.startswith("5 W is less than the 450 W that its RTX 4090 alone takes (https://")


def test_a_supply_that_carries_each_card_alone_is_left_to_the_sums() -> None:
    assert doubts("{model: RTX 4090}", psu=", psu: {watts: 450}") == ()
