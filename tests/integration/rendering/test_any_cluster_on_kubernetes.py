"""Whatever a cluster file says is rendered, or refused with every contradiction; Kubernetes takes what is written."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from corral.cluster import ClusterFileError, load
from corral.hardware.catalogue import find_gpu
from corral.linting.runner import lint
from corral.linting.values import Severity, Source
from corral.operations.placing import find_places
from corral.rendering.kubernetes.contradictions import ContradictionError
from corral.rendering.targets import render_cluster
from doubles.kubernetes_schemas import NEWEST, OLDEST, refusals
from doubles.rendered_clusters import cluster_text

NAMES = ["comfyui", "Ollama_Main", "5070-server", "a.b.c", "claims", "x" * 63, "x" * 62 + "y", "voice"]
MODELS = ["RTX 4090", "RTX 5070 Ti", "RTX 3060 12GB", "RTX A4000", "RX 7900 XTX"]
SPACES = st.sampled_from([None, "ai", "Other_Space", "n" * 63])
PORTS = st.sampled_from([None, 80, 8000, 11434, 30_080, 65_535])
SIZES = st.sampled_from([None, "8Gi", "14.5Gi", "100Gi", "12345"])

QUICK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking, which takes minutes here: each example is rendered, validated twice and linted."""
OF_CAPACITY = ("A06", "A07", "E09", "H05")
"""Rules that find more GPUs asked for than there are, or models larger than their volume: that is what the file says,
and `corral plan` tells why not."""


def without_none(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None and value != []}


@st.composite
def nodes(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(["one", "two-2", "three.lan"]), min_size=1, max_size=3, unique=True))
    cards = st.lists(st.fixed_dictionaries({"model": st.sampled_from(MODELS)}), max_size=3)
    machines = [{"name": name, "gpus": draw(cards), "roles": draw(st.sampled_from([[], ["gpu"]]))} for name in names]
    return [node if draw(st.booleans()) else without_none(node) for node in machines]


@st.composite
def volumes(draw: st.DrawFn, on: list[str]) -> list[dict[str, Any]]:
    entries = []
    for name in draw(st.lists(st.sampled_from(["models", "Out_Put", "cache.1"]), max_size=3, unique=True)):
        kind = draw(st.sampled_from(["local", "nfs", "ephemeral"]))
        entry = {"name": name, "kind": kind, "size": draw(SIZES)}
        if kind != "ephemeral":
            entry |= {"node": draw(st.sampled_from(on)), "path": draw(st.sampled_from([None, "/srv/a b", "/data"]))}
        entries.append(without_none(entry))
    return entries


@st.composite
def services(draw: st.DrawFn, on: list[str], stored: list[str]) -> list[dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    kinds = st.sampled_from(["server", "server", "job", "litellm", "nginx", "corral", "postgresql"])
    exposures = st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["loadBalancer", "nodePort", "ingress"]),
            "port": st.sampled_from([80, 30_080, 65_535]),
        }
    )
    entries = []
    for name in names:
        entry = {
            "name": name,
            "kind": draw(kinds),
            "engines": draw(st.sampled_from([[], ["ollama"], ["comfyui"], ["whisper", "chatterbox"], ["trainer"]])),
            "image": draw(st.sampled_from([None, "registry.local/it:1.0"])),
            "command": draw(st.sampled_from([[], ["train.py", "--fast"], ["sh", "-c", "echo 'x' && y"]])),
            "replicas": draw(st.integers(0, 3)),
            "gpus": draw(st.sampled_from([None, 0, 1, 2])),
            "gpuMemory": draw(SIZES),
            "models": draw(st.sampled_from([[], ["llama3:8b"], ["a'; rm -rf /"], ["https://x.org/m.bin"], ["o/r"]])),
            "port": draw(PORTS),
            "exposed": draw(st.none() | exposures),
            "namespace": draw(SPACES),
            "node": draw(st.sampled_from([None, *on])),
            "storage": draw(st.lists(st.sampled_from(stored), unique=True, max_size=2)) if stored else None,
            "calls": draw(st.lists(st.sampled_from(names), unique=True, max_size=2)),
            "env": draw(
                st.dictionaries(st.sampled_from(["A", "on", "x-y", "1ST", "UVICORN_WORKERS"]), st.text(max_size=9))
            ),
        }
        entries.append(without_none(entry))
    return entries


@st.composite
def texts(draw: st.DrawFn) -> str:
    machines = draw(nodes())
    on = [str(node["name"]) for node in machines]
    stored = draw(volumes(on))
    served = draw(services(on, [str(volume["name"]) for volume in stored]))
    placed = {
        service["name"]: without_none(
            {
                "pod": draw(st.sampled_from([None, None, "shared", "P_" + "o" * 60])),
                "node": draw(st.sampled_from([None, *on])),
                "name": draw(st.sampled_from([None, None, "deployed", "Z" * 63])),
                "configMap": draw(st.sampled_from([None, None, "settings"])),
            }
        )
        for service in served
        if draw(st.booleans())
    }
    kubernetes = {"distribution": draw(st.sampled_from([None, "k3s"])), "namespace": draw(SPACES)}
    mode = draw(st.sampled_from([None, None, "dra", "devicePlugin"]))
    return cluster_text(
        nodes=machines,
        storage=stored,
        services=served,
        layouts={"pool": {"services": placed}} if draw(st.booleans()) else {},
        kubernetes=without_none(kubernetes | {"gpuMode": mode}),
        queues=[{"name": "Nightly_Queue"}],
    )


@settings(max_examples=30, phases=QUICK, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts())
def test_kubernetes_takes_whatever_is_rendered_and_our_linter_finds_no_error_in_it(text: str) -> None:
    try:
        cluster = load(text, filename="cluster.yaml", find_gpu=find_gpu)
    except ClusterFileError:
        return
    try:
        files = render_cluster(
            cluster, source="cluster.yaml", text=text, only=["kubernetes", "kueue"], find_places=find_places
        ).files
    except ContradictionError:
        return
    assert refusals(files, OLDEST) == []
    assert refusals(files, NEWEST) == []
    report = lint([Source(name=path, text=content) for path, content in files.items()])
    errors = [
        finding
        for finding in report.findings
        if finding.rule.severity is Severity.ERROR and finding.rule.id not in OF_CAPACITY
    ]
    assert [f"{finding.place} {finding.rule.id} {finding.what}" for finding in errors] == []
    assert report.unread == ()
