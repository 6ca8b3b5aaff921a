"""The examples load, say what the two installations state, and satisfy the published schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from corral.cluster import Cluster, load
from corral.cluster.schema import make_json_schema
from corral.cluster.values import LayoutKind, StorageKind
from corral.hardware.catalogue import find_gpu

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = ["edge.yaml", "hydra/cluster.yaml", "harvis/cluster.yaml"]
GIB = 2**30


def example(name: str) -> Cluster:
    return load((EXAMPLES / name).read_text(), filename=name, find_gpu=find_gpu)


@pytest.mark.parametrize("name", FILES)
def test_examples_satisfy_the_schema(name: str) -> None:
    value: Any = YAML(typ="safe", pure=True).load((EXAMPLES / name).read_text())
    jsonschema.Draft202012Validator(make_json_schema()).validate(value)


@pytest.mark.parametrize("name", FILES)
def test_examples_load(name: str) -> None:
    assert example(name).name == Path(name).parts[0].removesuffix(".yaml")


def test_the_edge_example_finds_its_gpus_and_has_the_local_engines_on() -> None:
    edge = example("edge.yaml")
    (node,) = edge.nodes
    assert node.gpus is None
    assert node.address is None
    assert [name for name in ("llama", "whisper", "piper") if edge.engines[name].enabled] == [
        "llama",
        "whisper",
        "piper",
    ]
    assert not edge.engines["command"].enabled


def test_hydra_has_the_memory_that_its_totals_state() -> None:
    hydra = example("hydra/cluster.yaml")
    memory = {node.name: sum(gpu.memory or 0 for gpu in node.gpus or ()) // GIB for node in hydra.nodes}
    assert memory == {"hydra-ai": 56, "hydra-compute": 32, "hydra-storage": 0}


def test_hydra_compute_is_a_homogeneous_pool_with_limits_and_power_supply() -> None:
    hydra = example("hydra/cluster.yaml")
    compute = {node.name: node for node in hydra.nodes}["hydra-compute"]
    assert compute.gpus is not None
    assert {gpu.model for gpu in compute.gpus} == {"RTX 5070 Ti"}
    assert [gpu.power_limit_w for gpu in compute.gpus] == [250, 250]
    assert (compute.psu_w, compute.other_power_w) == (1000, 150)
    assert compute.labels["hydra.io/vram-total"] == "32"
    assert compute.labels["hydra.io/homogeneous"] == "true"
    assert "hydra.io/has-3060" not in compute.labels


def test_hydra_feeds_two_comfyui_from_one_queue() -> None:
    hydra = example("hydra/cluster.yaml")
    comfyui = hydra.services["comfyui"]
    assert (comfyui.replicas, comfyui.gpus, comfyui.port) == (2, 1, 8188)
    assert (comfyui.memory_request, comfyui.memory_limit) == (16 * GIB, 24 * GIB)
    assert hydra.queues["hydra-compute-pool"].pool == ("hydra-compute/gpu0", "hydra-compute/gpu1")
    assert "default" in hydra.queues
    assert hydra.layouts["pool"].kind is LayoutKind.POOL


def test_harvis_switches_between_one_gpu_and_two_nodes() -> None:
    harvis = example("harvis/cluster.yaml")
    edge, workstation = harvis.layouts["edge"].services, harvis.layouts["workstation"].services
    assert edge["ollama"].pod == edge["backend"].pod is not None
    assert harvis.services["backend"].calls == ("ollama",)
    assert (workstation["ollama"].node, workstation["backend"].node) == ("pop-os", "pop-os-343570d8")
    assert workstation["ollama"].name == "harvis-ai-ollama-workstation"


def test_harvis_keeps_language_models_on_a_local_disk_and_speech_models_on_nfs() -> None:
    storage = example("harvis/cluster.yaml").storage
    assert storage["ollama-model-cache"].kind is StorageKind.LOCAL
    assert storage["ollama-model-cache"].node == "pop-os"
    assert storage["nfs-ml-models-cache"].kind is StorageKind.NFS
