"""Beliefs that are wrong are told where they would do harm, and nowhere else."""

from __future__ import annotations

import pytest

from corral.planning.upgrade import Upgrade
from doubles.upgrades import TWO_EQUAL, hydra, upgrade_of

ONE_CARD = """\
apiVersion: corral/v1
name: desk
nodes: [{name: desk, gpus: [{model: RTX 3060 12GB}], psu: {watts: 750, otherWatts: 150}}]
"""


@pytest.fixture(scope="module")
def upgrade() -> Upgrade:
    return hydra().upgrade


def truth(upgrade: Upgrade, identity: str) -> str:
    return next(correction for correction in upgrade.corrections if correction.id == identity).truth


def ids(upgrade: Upgrade) -> set[str]:
    return {correction.id for correction in upgrade.corrections}


@pytest.mark.parametrize(
    ("identity", "fact"),
    [
        ("A29", "RTX 5070 Ti has CUDA capability 12.0 (`sm_120`)"),
        ("F01", "the last flag wins"),
        ("F02", "stays until it is removed by hand"),
        ("A01", "It is accepted and does nothing"),
        ("A10", "`CUDA_VISIBLE_DEVICES=1` leaves it none"),
        ("A11", "It chooses the node"),
        ("label-comma", "refuses a comma"),
        ("split-33b", "on each GPU of an even split"),
        ("D02", "Each ComfyUI has its own queue"),
        ("A02", "waits for ever"),
        ("A28", "DistributedDataParallel"),
        ("B15", "its power supply"),
        ("C01", "the voltage curve stays"),
    ],
)
def test_hydra_is_told_what_is_true(identity: str, fact: str, upgrade: Upgrade) -> None:
    assert fact in truth(upgrade, identity)


def test_every_correction_says_where_it_matters_and_where_it_is_from(upgrade: Upgrade) -> None:
    assert all(correction.here and correction.source and correction.belief for correction in upgrade.corrections)


def test_the_capability_is_that_of_the_card_in_the_catalogue() -> None:
    upgrade = upgrade_of(ONE_CARD, ("replace", "desk/gpu0=RTX 5090"))

    assert "RTX 5090 has CUDA capability 12.0" in truth(upgrade, "A29")


def test_a_desk_without_kubernetes_is_spared_its_pitfalls() -> None:
    upgrade = upgrade_of(ONE_CARD, ("replace", "desk/gpu0=RTX 4090"))

    assert ids(upgrade) == set()


def test_labels_of_a_kubernetes_that_is_not_k3s_are_not_called_stale() -> None:
    text = TWO_EQUAL.replace("distribution: k3s", "namespace: ai").replace(
        "k3sRole: agent", 'labels: {x.io/has-5070ti: "true"}'
    )

    upgrade = upgrade_of(text, ("replace", "box/gpu0=RTX 4090"), ("replace", "box/gpu1=RTX 4090"))

    assert upgrade.labels[0].removed
    assert "F02" not in ids(upgrade)


def test_an_upgrade_without_power_limits_is_not_told_about_them() -> None:
    assert "C01" not in ids(hydra(("replace", "hydra-compute/gpu1=RTX 5070 Ti")).upgrade)
