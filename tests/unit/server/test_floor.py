"""Stations come from the cluster file and from what this machine is."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.cluster import Cluster, load
from corral.cluster.values import Node
from corral.server.floor import build_floor, queues_of, this_node
from corral.tasks.stations import StationSetup
from corral.work import SlotId

TWO_COMFYUIS = """
apiVersion: corral/v1
name: test
nodes:
  - name: elsewhere
    address: 192.0.2.7
    gpus:
      - {model: RTX 5070 Ti, memory: 16Gi}
      - {model: RTX 5070 Ti, memory: 16Gi}
engines:
  comfyui:
    instances:
      - {name: left, url: "http://192.0.2.7:8188", node: elsewhere, gpu: 0}
      - {name: right, url: "http://192.0.2.7:8189", node: elsewhere, gpu: 1}
  ollama:
    instances:
      - {name: talk, url: "http://192.0.2.7:11434", node: elsewhere, gpu: 0}
      - {name: far, url: "http://192.0.2.8:11434"}
queues:
  - {name: images, pool: [elsewhere/gpu1]}
  - {name: one-node, pool: [elsewhere]}
"""


def read(text: str) -> Cluster:
    return load(text, filename="cluster.yaml")


def stations(cluster: Cluster, folder: Path) -> dict[str, StationSetup]:
    floor = build_floor(cluster, data_dir=folder, locate=lambda name: folder / name)
    return {station.slot: station for station in floor.stations}


def test_instances_on_one_card_share_its_slot(tmp_path: Path) -> None:
    found = stations(read(TWO_COMFYUIS), tmp_path)
    assert {slot: sorted(station.engines) for slot, station in found.items()} == {
        "elsewhere/gpu0": ["comfyui", "ollama"],
        "elsewhere/gpu1": ["comfyui"],
        "far": ["ollama"],
    }
    assert found["elsewhere/gpu0"].capacity == 16 * 2**30


def test_second_instance_of_an_engine_on_a_card_gets_a_slot_that_shares_its_memory(tmp_path: Path) -> None:
    text = TWO_COMFYUIS.replace("gpu: 1}\n  ollama", "gpu: 0}\n  ollama")
    found = stations(read(text), tmp_path)
    assert found[SlotId("elsewhere/gpu0/right")].device == found[SlotId("elsewhere/gpu0")].device


def test_pool_of_a_queue_is_slots(tmp_path: Path) -> None:
    cluster = read(TWO_COMFYUIS)
    queues = queues_of(cluster, tuple(stations(cluster, tmp_path).values()))
    assert queues["images"].slots == {"elsewhere/gpu1"}
    assert queues["one-node"].slots == {"elsewhere/gpu0", "elsewhere/gpu1"}
    assert queues["default"].slots is None


@pytest.mark.parametrize(
    ("nodes", "here"),
    [
        ([Node(name="a", address="192.0.2.1"), Node(name="b")], "b"),
        ([Node(name="a", address="192.0.2.1"), Node(name="host", address="192.0.2.2")], "host"),
        ([Node(name="a", address="192.0.2.1"), Node(name="b", address="localhost")], "b"),
        ([Node(name="a", address="192.0.2.1")], None),
    ],
)
def test_node_that_is_this_machine_is_found(nodes: list[Node], here: str | None) -> None:
    found = this_node(nodes, "host.example")
    assert (found.name if found else None) == here
