"""Causes of what kubelets, runtimes and programs report; each message is quoted from the report that is named.

The plane's own symptoms (scheduler, controllers, Kueue) are made for real in `tests/cluster/test_diagnosis.py`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from corral.cluster import load
from corral.diagnosis.case import Case
from corral.diagnosis.diagnosing import DIAGNOSES, diagnose, list_pitfalls
from corral.diagnosis.values import Answers, Finding, Printed
from corral.snapshot import Snapshot
from doubles import gpu_symptoms, node_symptoms
from doubles.symptoms import KEY, Symptom

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


def test_every_pitfall_of_the_table_has_a_test() -> None:
    on_the_plane = set(re.findall(r'\(\s*"([A-K]\d\d)", ', _read("tests/cluster/test_diagnosis.py")))
    assert {*on_the_plane, *(symptom.pitfall for symptom in SYMPTOMS)} >= {entry.pitfall.id for entry in DIAGNOSES}
    assert len(list_pitfalls()) >= 45


def _read(path: str) -> str:
    return (_REPOSITORY / path).read_text(encoding="utf-8")


def test_ids_of_pitfalls_are_unique_and_kinds_are_those_that_are_read() -> None:
    named = [(entry.pitfall.id, entry.function.__name__) for entry in DIAGNOSES]
    assert len({id for id, _ in named}) == len(named)
