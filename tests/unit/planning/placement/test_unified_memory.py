"""Memory that a GPU and its machine share is planned once: Jetson, DGX Spark, Strix Halo, Mac."""

from __future__ import annotations

import pytest

from corral.operations.cluster_file import FileText
from corral.operations.planning import PlanAsked, plan_layouts
from corral.planning.placement.values import Plan

GIB = 2**30


def plan(nodes: str, services: str) -> Plan:
    text = f"apiVersion: corral/v1\nname: small\nnodes:\n{nodes}\nservices:\n{services}\n"
    return plan_layouts(PlanAsked(cluster=FileText(text=text))).plans[0]


MODEL = "  - {name: model, engines: [ollama], gpus: 1, gpuMemory: %s}\n"
OTHER = "  - {name: other, image: 'example.org/app:1', node: here, memory: {request: %s}}\n"


@pytest.mark.parametrize(
    ("node", "model", "other"),
    [
        ("memory: 8Gi, gpus: [{model: Jetson Orin Nano 8 GB}]", "5Gi", "2Gi"),
        ("memory: 128Gi, gpus: [{model: DGX Spark}]", "60Gi", "100Gi"),
        ("memory: 128Gi, gpus: [{model: Strix Halo, memory: 96Gi}]", "90Gi", "40Gi"),
        ("memory: 24Gi, gpus: [{model: Apple M4}]", "15Gi", "8Gi"),
    ],
)
def test_what_a_model_takes_of_shared_memory_is_not_there_for_services(node: str, model: str, other: str) -> None:
    both = plan(f"  - {{name: here, {node}}}", MODEL % model + OTHER % other)
    alone = [plan(f"  - {{name: here, {node}}}", service) for service in (MODEL % model, OTHER % other)]

    assert [bool(single.missing) for single in alone] == [False, False]
    assert len(both.placed) == 1
    assert any("memory" in refusal.reason for refusal in both.missing[0].refusals)


def test_a_card_with_memory_of_its_own_takes_none_of_its_machine() -> None:
    whole = plan("  - {name: here, memory: 16Gi, gpus: [{model: RTX 4090}]}", MODEL % "20Gi" + OTHER % "12Gi")
    assert len(whole.placed) == 2


@pytest.mark.parametrize(
    ("node", "usable"),
    [
        ("memory: 24Gi, gpus: [{model: Apple M4}]", 15.5),
        ("memory: 64Gi, gpus: [{model: M4 Max}]", 47.5),
        ("memory: 128Gi, gpus: [{model: Strix Halo}]", 63.5),
        ("memory: 128Gi, gpus: [{model: Radeon 8060S, memory: 96Gi}]", 95.5),
        ("memory: 8Gi, gpus: [{model: Jetson Orin Nano 8 GB}]", 6),
        ("gpus: [{model: Radeon 8060S}]", None),
        ("memory: 32Gi, gpus: [{model: Arc 140V}]", None),
    ],
)
def test_a_gpu_has_the_share_that_its_system_gives_or_an_unknown_one(node: str, usable: float | None) -> None:
    gpu = plan(f"  - {{name: here, {node}}}", MODEL % "1Gi").totals[0].gpu
    assert gpu.usable == (None if usable is None else usable * GIB)


def test_two_replicas_without_a_gpu_take_shared_memory_before_one_service_with_it() -> None:
    """Of plans with as many first replicas, the one with more further ones is taken."""
    node = "  - {name: here, memory: 16Gi, gpus: [{model: Apple M4, memory: 12Gi}]}"
    copies = "  - {name: copies, image: 'example.org/app:1', replicas: 2, node: here, memory: {request: 7Gi}}\n"
    model = "  - {name: model, engines: [ollama], gpus: 1, gpuMemory: 9Gi, node: here}\n"

    planned = plan(node, copies + model)

    assert [(placed.demand, placed.replica) for placed in planned.placed] == [("copies", 0), ("copies", 1)]
    assert planned.gap == 0
