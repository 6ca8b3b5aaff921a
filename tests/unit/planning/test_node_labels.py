"""Node labels that follow from the GPUs of a node."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from corral.cluster.values import Cluster, Gpu, Kubernetes, Node
from corral.planning.labels import LabelChange, list_label_changes
from corral.rendering.nodes import list_wrong_labels, make_gpu_labels
from corral.units import Bytes

GIB = 2**30
SIZES = {"RTX 5070 Ti": 16, "RTX 3060 12 GB": 12, "RTX 3060 8 GB": 8, "RTX A4000": 16, "RX 7900 XTX": 24}


def a_node(*models: str, labels: dict[str, str] | None = None) -> Node:
    gpus = tuple(Gpu(index=i, model=model, memory=Bytes(SIZES[model] * GIB)) for i, model in enumerate(models))
    return Node(name="node", gpus=gpus, labels=labels or {})


def changes(before: Node, after: Node) -> dict[str, tuple[str | None, str | None]]:
    return {change.key: (change.before, change.after) for change in list_label_changes(before, after)}


def test_two_equal_cards_are_one_class_and_homogeneous() -> None:
    assert make_gpu_labels(a_node("RTX 5070 Ti", "RTX 5070 Ti"), "hydra.io") == {
        "hydra.io/vram-total": "32",
        "hydra.io/gpu-class": "5070ti",
        "hydra.io/gpu-count": "2",
        "hydra.io/homogeneous": "true",
        "hydra.io/has-5070ti": "true",
    }


def test_several_classes_are_joined_by_what_a_label_may_hold() -> None:
    labels = make_gpu_labels(a_node("RTX 5070 Ti", "RTX 3060 12 GB"), "hydra.io")

    assert labels["hydra.io/gpu-classes"] == "5070ti-3060"
    assert labels["hydra.io/homogeneous"] == "false"
    assert "hydra.io/gpu-class" not in labels


def test_two_sizes_of_one_class_are_one_class_and_not_homogeneous() -> None:
    labels = make_gpu_labels(a_node("RTX 3060 12 GB", "RTX 3060 8 GB"), "x")

    assert (labels["x/gpu-class"], labels["x/homogeneous"]) == ("3060", "false")


def test_what_depends_on_an_unknown_card_is_left_out() -> None:
    unknown = Node(name="node", gpus=(Gpu(index=0), Gpu(index=1, model="RTX 5070 Ti", memory=Bytes(16 * GIB))))

    assert make_gpu_labels(unknown, "x") == {"x/gpu-count": "2", "x/homogeneous": "false", "x/has-5070ti": "true"}
    assert make_gpu_labels(Node(name="node"), "x") == {}


def wrong(node: Node, prefix: str | None = "x") -> dict[str, tuple[str, str | None]]:
    cluster = Cluster(name="c", nodes=(node,), kubernetes=Kubernetes(label_prefix=prefix))
    return {label.key: (label.written, label.computed) for label in list_wrong_labels(cluster)}


def test_a_label_that_contradicts_the_cards_is_found_with_both_values() -> None:
    labels = {"x/vram-total": "28", "x/gpu-class": "3060", "x/has-3060": "true", "x/has-nvme": "true", "tier": "gold"}

    assert wrong(a_node("RTX 5070 Ti", "RTX 5070 Ti", labels=labels)) == {
        "x/vram-total": ("28", "32"),
        "x/gpu-class": ("3060", "5070ti"),
        "x/has-3060": ("true", None),
    }


def test_labels_that_say_the_same_are_not_found() -> None:
    mixed = a_node("RTX 5070 Ti", "RTX 3060 12 GB", labels={"x/gpu-classes": "3060_5070ti", "x/homogeneous": "false"})
    unknown = Node(name="n", gpus=(Gpu(index=0),), labels={"x/vram-total": "24", "x/gpu-class": "4090"})
    elsewhere = a_node("RTX 5070 Ti", labels={"y/vram-total": "28"})

    assert [wrong(node) for node in (mixed, unknown, elsewhere)] == [{}, {}, {}]


def test_only_labels_that_the_node_uses_are_touched() -> None:
    before = a_node("RTX 3060 12 GB", labels={"x/vram-total": "12", "x/tier": "gold", "zone": "a"})

    assert changes(before, a_node("RTX 5070 Ti", "RTX 5070 Ti")) == {"x/vram-total": ("12", "32")}


def test_a_label_of_no_convention_that_looks_alike_stays() -> None:
    before = a_node("RTX 3060 12 GB", labels={"x/has-nvme": "true", "x/has-3060": "true"})

    assert changes(before, a_node("RTX 5070 Ti")) == {"x/has-3060": ("true", None), "x/has-5070ti": (None, "true")}


def test_a_pool_that_becomes_mixed_says_false_since_k3s_removes_no_label() -> None:
    before = a_node("RTX 5070 Ti", "RTX 5070 Ti", labels={"x/gpu-class": "5070ti", "x/homogeneous": "true"})

    assert changes(before, a_node("RTX 5070 Ti", "RTX A4000")) == {
        "x/gpu-class": ("5070ti", None),
        "x/gpu-classes": (None, "5070ti-a4000"),
        "x/homogeneous": ("true", "false"),
    }


def test_the_underscore_of_the_file_is_kept_between_classes() -> None:
    before = a_node("RTX 5070 Ti", "RTX 3060 12 GB", labels={"x/gpu-classes": "5070ti_3060"})

    assert changes(before, a_node("RTX 5070 Ti", "RTX A4000")) == {"x/gpu-classes": ("5070ti_3060", "5070ti_a4000")}


def test_a_node_that_loses_its_last_card_has_no_class_and_no_memory() -> None:
    labels = {"x/vram-total": "16", "x/gpu-class": "5070ti", "x/has-5070ti": "true", "x/gpu-count": "1"}

    assert changes(a_node("RTX 5070 Ti", labels=labels), a_node()) == {
        "x/vram-total": ("16", "0"),
        "x/gpu-class": ("5070ti", None),
        "x/has-5070ti": ("true", None),
        "x/gpu-count": ("1", "0"),
    }


def test_labels_under_two_prefixes_are_each_kept_up() -> None:
    before = a_node("RTX 3060 12 GB", labels={"a/vram-total": "12", "b/gpu-class": "3060"})

    assert changes(before, a_node("RTX 5070 Ti")) == {
        "a/vram-total": ("12", "16"),
        "b/gpu-class": ("3060", "5070ti"),
    }


def test_a_removed_label_has_a_command_and_the_others_need_none() -> None:
    gone = LabelChange(node="n", key="x/has-3060", before="true", after=None)

    assert gone.command == "kubectl label node n x/has-3060-"
    assert LabelChange(node="n", key="k", before=None, after="1").command is None


@given(st.lists(st.sampled_from(sorted(SIZES)), max_size=30))
def test_every_label_is_one_that_kubernetes_takes(models: list[str]) -> None:
    for key, value in make_gpu_labels(a_node(*models), "hydra.io").items():
        assert re.fullmatch(r"hydra\.io/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", key)
        assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", value)
