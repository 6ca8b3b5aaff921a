"""A cluster file for what renders K3s: NixOS and Ubuntu, old and new cards, volumes of all kinds."""

from __future__ import annotations

from corral.cluster import Cluster, load
from corral.hardware.catalogue import find_gpu
from corral.rendering.installation import Installation, resolve_installations

MIXED = """\
apiVersion: corral/v1
name: mixed
kubernetes:
  distribution: k3s
  server: https://k3s.example.org:6443
  maxPods: 150
  labelPrefix: example.org
  tokenFile: /run/secrets/k3s-token
nodes:
  - {name: head, os: nixos, k3sRole: server, address: 10.0.0.1, gpus: []}
  - name: cruncher
    os: nixos
    k3sRole: agent
    address: 10.0.0.2
    roles: [generation, training]
    gpus:
      - {model: RTX 5090, uuid: GPU-11111111-2222-3333-4444-555555555555, powerLimit: 450}
      - {model: RTX 5090}
      - {model: RTX 5090, powerLimit: 400}
    labels: {topology.kubernetes.io/zone: cellar, example.org/rack: "1"}
    removedLabels: [example.org/has-3060]
  - {name: veteran, os: nixos, k3sRole: agent, gpus: [{model: GTX 1080 Ti}]}
  - {name: museum, os: nixos, k3sRole: agent, gpus: [{model: GTX 780}]}
  - {name: muddle, os: nixos, k3sRole: agent, gpus: [{model: GTX 1080 Ti}, {model: RTX 5090}]}
  - {name: radeon, os: nixos, k3sRole: agent, gpus: [{model: RX 7900 XTX}]}
  - {name: unseen, os: nixos, k3sRole: agent}
  - {name: nameless, os: nixos, k3sRole: agent, gpus: [{memory: 16Gi}]}
  - {name: shelf, os: nixos, address: 10.0.0.9, gpus: []}
  - name: ubuntu-one
    os: ubuntu
    k3sRole: agent
    roles: [inference]
    gpus: [{model: RTX 4090, powerLimit: 300}, {model: RTX 3090 Ti, index: 1, powerLimit: 350}]
  - {name: unraid, os: unraid, gpus: []}
storage:
  - {name: scratch, kind: local, node: cruncher, path: /srv/scratch, size: 100Gi}
  - {name: shared, kind: nfs, node: shelf, path: /srv/shared}
  - {name: elsewhere, kind: nfs, server: nas.example.org, path: /export}
services:
  - name: comfyui
    engines: [comfyui]
    image: example.org/comfyui:1
    port: 8188
    node: cruncher
    gpus: 1
    replicas: 2
    storage: [shared, scratch]
    exposed: {kind: loadBalancer, port: 9000}
  - {name: portal, image: "example.org/portal:1", port: 8000, exposed: {kind: ingress, port: 80}}
layouts:
  pool:
    services:
      comfyui: {}
  workstation:
    services:
      comfyui: {replicas: 1}
"""


def cluster_of(text: str = MIXED) -> Cluster:
    """Read a cluster file."""
    return load(text, filename="cluster.yaml", find_gpu=find_gpu)


def installations_of(cluster: Cluster) -> tuple[Installation, ...]:
    """Resolve every layout of a cluster."""
    return resolve_installations(cluster, source="cluster.yaml", text=cluster.name)
