"""Keys of services, queues and placements are set by name."""

from __future__ import annotations

from pathlib import Path

from corral.cluster import load
from corral.cluster.editing.editor import Editor
from corral.cluster.editing.entries import path_of, placement, set_keys

BEFORE = (Path(__file__).parents[3] / "examples/hydra/before.yaml").read_text()


def test_a_queue_a_service_and_a_placement_become_what_the_upgraded_cluster_has() -> None:
    editor = Editor(BEFORE, filename="before.yaml")
    service, queue = path_of(editor, "services", "comfyui"), path_of(editor, "queues", "5070ti-queue")
    assert service
    assert queue

    set_keys(editor, service, {"replicas": 2})
    set_keys(editor, queue, {"pool": ["hydra-compute/gpu0", "hydra-compute/gpu1"], "order": "fifo"})
    set_keys(editor, placement("pool", "comfyui"), {"gpus": [0, 1], "replicas": 2, "env": None})
    set_keys(editor, placement("pool", "gpt-sovits"), {"gpus": None})
    text = editor.finish()

    cluster = load(text, filename="after.yaml")
    assert cluster.services["comfyui"].replicas == 2
    assert cluster.queues["5070ti-queue"].pool == ("hydra-compute/gpu0", "hydra-compute/gpu1")
    assert (
        "  - name: 5070ti-queue # images, LoRA training\n    pool: [hydra-compute/gpu0, hydra-compute/gpu1]\n" in text
    )
    assert "      comfyui: {node: hydra-compute, gpus: [0, 1], replicas: 2}\n" in text
    assert "      gpt-sovits: {node: hydra-compute}\n" in text


def test_what_has_no_such_name_has_no_place() -> None:
    assert path_of(Editor(BEFORE, filename="before.yaml"), "services", "nope") is None
