"""Cluster files: those of the examples, and a large and mixed one, such as no example is."""

from __future__ import annotations

from pathlib import Path

from corral.operations.cluster_file import ClusterText, check_cluster, read_cluster_file

CARDS = (
    "RTX 5090",
    "RTX 4090",
    "RTX 3090 Ti",
    "RTX 5070 Ti",
    "RTX 3060 12GB",
    "RTX A4000",
    "GTX 1080 Ti",
    "RX 7900 XTX",
)


def open_cluster(path: Path) -> ClusterText:
    """Read and check a cluster file."""
    return check_cluster(read_cluster_file(path))


def forty_mixed_nodes() -> str:
    """Write a file of 40 nodes with 0 to 4 cards of up to two models each, volumes, services and a layout."""
    nodes = "\n".join(_node(index) for index in range(40))
    services = "\n".join(
        f"  - {{name: ollama-{index}, engines: [ollama], gpus: 1, gpuMemory: {8 + index % 3 * 4}Gi, "
        f"models: ['llama3:8b']}}"
        for index in range(20)
    )
    return f"""\
apiVersion: corral/v1
name: forty
electricity: {{pricePerKwh: 0.3}}
nodes:
{nodes}
storage:
  - {{name: fast, kind: local, node: node-01, medium: nvme, size: 500Gi}}
  - {{name: shared, kind: nfs, node: node-00, path: /export}}
services:
{services}
  - {{name: comfyui, engines: [comfyui], replicas: 8, gpus: 1, gpuMemory: 12Gi, storage: [shared]}}
  - {{name: cache, engines: [ollama], gpus: 1, storage: [fast]}}
layouts:
  pool:
    services:
      comfyui: {{}}
workloads:
  - {{name: images, engine: comfyui, service: comfyui, minVram: 10Gi, duration: 30s, unit: image}}
queues:
  - {{name: default}}
"""


def _node(index: int) -> str:
    cards = [CARDS[(index + card * (index % 2)) % len(CARDS)] for card in range(index % 5)]
    gpus = ", ".join(f"{{model: {card}}}" for card in cards)
    machine = f"address: 10.0.0.{index + 1}, memory: {32 + index % 4 * 32}Gi, psu: {{watts: {650 + index % 5 * 250}}}"
    return f"  - {{name: node-{index:02d}, {machine}, gpus: [{gpus}]}}"
