"""The targets that are written for a cluster file, and the notes that come with them."""

from __future__ import annotations

from typing import Any

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.rendering.targets import TARGETS, Rendering, render_cluster
from doubles.rendered_clusters import cluster_text

PARTS: dict[str, Any] = {
    "services": [
        {
            "name": "voice",
            "engines": ["chatterbox"],
            "image": "ghcr.io/example/voice:1",
            "gpus": 1,
            "gpuMemory": "30Gi",
        },
        {"name": "mystery"},
    ]
}


def render(*only: str, **parts: Any) -> Rendering:
    text = cluster_text(**PARTS, **parts)
    cluster = load(text, filename="cluster.yaml", find_gpu=find_gpu)
    return render_cluster(cluster, source="cluster.yaml", text=text, only=only)


def folders(rendering: Rendering) -> set[str]:
    return {path.partition("/")[0] for path in rendering.files}


def test_a_file_without_kubernetes_gets_none_and_one_with_it_does() -> None:
    assert not folders(render()) & {"kubernetes", "kueue", "k3s"}
    assert {"kubernetes", "kueue"} <= folders(render(kubernetes={}))


def test_a_target_that_is_named_is_written_whatever_the_file_has() -> None:
    assert folders(render("kubernetes")) == {"kubernetes"}


def test_notes_are_the_same_whichever_targets_are_named() -> None:
    for parts in ({}, {"kubernetes": {}}):
        notes = render(**parts).notes
        assert "Not deployed, because the file names no image: mystery." in notes
        assert "Not in the Compose files: voice: no free GPU of any machine is large enough." in notes
        for target in TARGETS:
            assert set(notes) <= set(render(target.name, **parts).notes)
