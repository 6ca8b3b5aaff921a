"""The ResourceSlice of a node's GPUs, in the shape that NVIDIA's DRA driver writes (`deviceinfo.go` of v0.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from control_plane.machines import SimulatedGpu
from control_plane.simulator.objects import Json

DRIVER = "gpu.nvidia.com"
DRIVER_VERSION = "580.105.8"
CUDA_VERSION = "13.0.0"


def make_slice(
    node: Json,
    gpus: Sequence[SimulatedGpu],
    uuids: Mapping[str, str],
    taints: Mapping[str, Sequence[Json]],
    generation: int,
) -> Json:
    """Make the slice of a node; `uuids` by device name, in the order of the GPUs, `taints` by device name."""
    name = node["metadata"]["name"]
    devices: list[Json] = []
    for number, (gpu, (device, uuid)) in enumerate(zip(gpus, uuids.items(), strict=True)):
        entry: Json = {
            "name": device,
            "attributes": {
                "type": {"string": "gpu"},
                "uuid": {"string": uuid},
                "productName": {"string": gpu.product},
                "brand": {"string": "GeForce" if "GeForce" in gpu.product else "Nvidia"},
                "architecture": {"string": gpu.architecture},
                "cudaComputeCapability": {"version": f"{gpu.capability}.0"},
                "driverVersion": {"version": DRIVER_VERSION},
                "cudaDriverVersion": {"version": CUDA_VERSION},
                "resource.kubernetes.io/pciBusID": {"string": f"0000:{number + 1:02x}:00.0"},
                "resource.kubernetes.io/pcieRoot": {"string": f"pci0000:{number:02x}"},
            },
            "capacity": {"memory": {"value": f"{gpu.memory_mib}Mi"}},
        }
        if taints.get(device):
            entry["taints"] = list(taints[device])
        devices.append(entry)
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {
            "name": f"{name}-{DRIVER}",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"], "controller": True}
            ],
        },
        "spec": {
            "driver": DRIVER,
            "nodeName": name,
            "pool": {"name": name, "generation": generation, "resourceSliceCount": 1},
            "devices": devices,
        },
    }


def make_discovery_labels(gpus: Sequence[SimulatedGpu]) -> dict[str, str]:
    """Make the labels that GPU feature discovery writes: of the first GPU, as it does on a node of several models."""
    if not gpus:
        return {}
    first = gpus[0]
    major, _, minor = first.capability.partition(".")
    return {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": str(len(gpus)),
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.product": first.product.replace(" ", "-"),
        "nvidia.com/gpu.memory": str(first.memory_mib),
        "nvidia.com/gpu.family": first.architecture.lower().replace(" ", "-"),
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
        "nvidia.com/cuda.driver-version.full": DRIVER_VERSION,
        "nvidia.com/cuda.runtime-version.full": CUDA_VERSION.rpartition(".")[0],
    }
