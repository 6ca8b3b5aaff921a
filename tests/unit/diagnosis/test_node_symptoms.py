"""Causes of what kubelets, runtimes and programs report; each message is quoted from the report that is named.

The plane's own symptoms (scheduler, controllers, Kueue) are made for real in `tests/cluster/test_diagnosis.py`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corral.cluster import load
from corral.diagnosis.case import Case
from corral.diagnosis.diagnosing import DIAGNOSES, diagnose, list_pitfalls
from corral.diagnosis.values import Answers, Finding, Printed
from corral.snapshot import Snapshot
from doubles import gpu_symptoms, node_symptoms
from doubles.symptoms import KEY, Symptom, make_node, make_pod

SYMPTOMS = (*gpu_symptoms.SYMPTOMS, *node_symptoms.SYMPTOMS)
_REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("symptom", SYMPTOMS, ids=[symptom.pitfall for symptom in SYMPTOMS])
def test_symptom_has_its_cause_with_evidence_and_fix(symptom: Symptom) -> None:
    findings = [entry for entry in _diagnose(symptom) if entry.pitfall.id == symptom.pitfall]
    assert findings, [(entry.pitfall.id, entry.cause) for entry in _diagnose(symptom)]
    texts = [" | ".join([entry.cause, *map(str, entry.evidence), entry.fix]) for entry in findings]
    assert any(all(word in text for word in symptom.words) for text in texts), texts
    assert all(entry.evidence and entry.fix for entry in findings)


def _diagnose(symptom: Symptom) -> tuple[Finding, ...]:
    answers = Answers(
        logs={KEY: symptom.log} if symptom.log else {}, gpus={KEY: symptom.smi} if symptom.smi is not None else {}
    )
    cluster = load(symptom.cluster, filename="cluster.yaml") if symptom.cluster else None
    return diagnose(Case(snapshot=Snapshot.make(symptom.objects), answers=answers, cluster=cluster)).findings


@pytest.mark.parametrize(
    "printed",
    [
        # https://github.com/NVIDIA/k8s-device-plugin/issues/346
        Printed(exit_code=127, text='exec: "nvidia-smi": executable file not found in $PATH: unknown'),
        Printed(exit_code=127, text="sh: 1: nvidia-smi: not found\n"),  # dash
        Printed(exit_code=127, text="env: 'nvidia-smi': No such file or directory\n"),  # GNU env
        Printed(exit_code=126, text="sh: 1: nvidia-smi: Permission denied\n"),
        Printed(exit_code=0, text="GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)\n"),
    ],
)
def test_container_whose_image_has_no_nvidia_smi_or_whose_gpu_is_listed_has_no_finding(printed: Printed) -> None:
    (invisible,) = (entry for entry in SYMPTOMS if entry.pitfall == "K20")
    assert _diagnose(replace(invisible, smi=printed)) == ()


def make_slice(node: str, *devices: Any) -> Any:
    spec = {"driver": "gpu.nvidia.com", "nodeName": node, "pool": {"name": node}, "devices": list(devices)}
    metadata = {"name": f"{node}-gpu.nvidia.com"}
    return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("devices", "cause"),
    [
        (
            [{"name": "gpu-0", "taints": [{"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoExecute"}]}],
            "the device gpu-0 of alpha is tainted, and the others are taken",
        ),
        ([], "no node that it can run on offers a device: no ResourceSlice of one has devices"),
    ],
    ids=["tainted", "gone"],
)
def test_claim_of_a_pod_that_is_pinned_is_judged_by_the_devices_of_its_node(devices: list[Any], cause: str) -> None:
    waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "cannot allocate"}
    pod = make_pod(
        spec={
            "nodeName": None,
            "nodeSelector": {"kubernetes.io/hostname": "alpha"},
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}],
        },
        status={"phase": "Pending", "conditions": [waiting]},
    )
    version = {"apiVersion": "resource.k8s.io/v1"}
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
    claim = {"metadata": {"name": "gpu", "namespace": "ai"}, "spec": {"devices": {"requests": [request]}}}
    device_class = {"kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {}}
    objects = [
        *(pod, make_node(gpus=0), make_node("beta", gpus=0), {**version, **device_class}),
        *({**version, "kind": "ResourceClaim", **claim}, make_slice("alpha", *devices)),
        make_slice("beta", {"name": "gpu-0"}),
    ]
    findings = diagnose(Case(snapshot=Snapshot.make(objects))).findings
    assert [entry.cause for entry in findings if entry.pitfall.id == "K04"] == [cause]


def test_every_pitfall_of_the_table_has_a_test() -> None:
    on_the_plane = set(re.findall(r'\(\s*"([A-K]\d\d)", ', _read("tests/cluster/test_diagnosis.py")))
    assert {*on_the_plane, *(symptom.pitfall for symptom in SYMPTOMS)} >= {entry.pitfall.id for entry in DIAGNOSES}
    assert len(list_pitfalls()) >= 45


def _read(path: str) -> str:
    return (_REPOSITORY / path).read_text(encoding="utf-8")


def test_ids_of_pitfalls_are_unique_and_kinds_are_those_that_are_read() -> None:
    named = [(entry.pitfall.id, entry.function.__name__) for entry in DIAGNOSES]
    assert len({id for id, _ in named}) == len(named)
