"""Upgrades of cluster files, compared without touching a disk but for the examples; each is worked out once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from corral.operations.cluster_file import FileText, read_cluster
from corral.operations.upgrading import UpgradeAsked, Upgrading, apply_upgrade
from corral.planning.changes import parse_options
from corral.planning.upgrade import Upgrade
from doubles.clusters import open_cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
HYDRA = (("replace", "hydra-compute/gpu1=RTX 5070 Ti"), ("limit", "hydra-compute=250"))
"""The upgrade that examples/hydra is about."""
NO_FILE = FileText(text="")
"""In requests whose changes are applied to a file that was read already."""
TWO_EQUAL = """\
apiVersion: corral/v1
name: pair
kubernetes: {distribution: k3s}
nodes:
  - name: box
    k3sRole: agent
    gpus: [{model: RTX 5070 Ti, index: 0}, {model: RTX 5070 Ti, index: 1}]
    psu: {watts: 1000, otherWatts: 150}
services:
  - {name: comfyui, engines: [comfyui], node: box, gpus: 1, gpuMemory: 14Gi, replicas: 2}
workloads:
  - {name: images, engine: comfyui, service: comfyui, minVram: 14Gi, duration: 30s, unit: image}
night: 1h
"""
"""A node whose two cards are the same, with a service that needs most of one; its night is short, as it is played."""


@cache
def hydra(*changes: tuple[str, str], adapting: bool = False) -> Upgrading:
    """Compare examples/hydra/before.yaml with itself after changes; after its own upgrade when none is named."""
    file = open_cluster(EXAMPLES / "hydra" / "before.yaml")
    return apply_upgrade(file, parse_options(changes or HYDRA), UpgradeAsked(cluster=NO_FILE, adapt=adapting))


@cache
def upgrade_of(text: str, *changes: tuple[str, str]) -> Upgrade:
    """Compare the text of a cluster file with itself after changes: `("add", "box=RTX 4090")`."""
    before = read_cluster(text, name="cluster.yaml")
    return apply_upgrade(before, parse_options(changes), UpgradeAsked(cluster=NO_FILE)).upgrade
