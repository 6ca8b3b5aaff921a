"""Machines as people described them in public threads, each with the answer that was confirmed there."""

from __future__ import annotations

import yaml

from corral.linting.runner import lint
from corral.linting.values import Severity, Source
from corral.operations.cluster_file import FileText
from corral.operations.powering import PowerAsked, work_out_power
from doubles.answers import plan, read_compose, read_pods, render

ONE_CARD = """\
apiVersion: corral/v1
name: home
kubernetes: {distribution: k3s, namespace: ai}
nodes:
  - {name: tower, k3sRole: server, memory: 64Gi, gpus: [{model: RTX 3090}]}
storage:
  - {name: weights, kind: local, node: tower, path: /srv/weights, size: 100Gi, medium: nvme}
services:
  - {name: chat, engines: [ollama], image: "ollama/ollama:0.12.6", port: 11434, gpuMemory: 12Gi, models: ["qwen3:8b"],
     storage: [weights]}
  - {name: voice, engines: [whisper], image: "ghcr.io/speaches-ai/speaches:0.8.3-cuda", port: 8000, gpuMemory: 5Gi,
     models: [whisper-large-v3]}
"""
"""Ollama and Whisper on one RTX 3090, which is the commonest machine of all (NVIDIA/NeMo-Retriever 2510)."""

MIXED = """\
apiVersion: corral/v1
name: mixed
kubernetes: {distribution: k3s, namespace: llm}
nodes:
  - {name: pi, k3sRole: server, memory: 8Gi, gpus: [], labels: {kubernetes.io/arch: arm64}}
  - {name: green, k3sRole: agent, memory: 64Gi, gpus: [{model: RTX 3090}]}
  - {name: red, k3sRole: agent, memory: 64Gi, gpus: [{model: RX 7900 XTX}]}
  - {name: halo, k3sRole: agent, memory: 128Gi, gpus: [{model: Strix Halo, memory: 96Gi}]}
  - {name: blue, k3sRole: agent, memory: 32Gi, gpus: [{model: Arc A770}]}
services:
  - {name: on-green, engines: [ollama], image: "ollama/ollama:0.12.6", port: 11434, gpus: 1, node: green}
  - {name: on-red, engines: [ollama], image: "ollama/ollama:0.12.6-rocm", port: 11434, gpus: 1, node: red}
  - {name: on-halo, engines: [ollama], image: "ollama/ollama:0.12.6-rocm", port: 11434, gpus: 1, node: halo,
     models: ["gpt-oss:120b"]}
  - {name: on-blue, engines: [ollama], image: "intelanalytics/ipex-llm-inference-cpp-xpu:2.2.0", port: 11434, gpus: 1,
     node: blue, models: ["llama3.1:8b"]}
  - {name: cache, image: "redis:7.4", port: 6379}
"""
"""Cards of three makers and a Raspberry Pi (ollama/ollama 738, defilantech/LLMKube 696)."""

UNIFIED = """\
apiVersion: corral/v1
name: unified
kubernetes: {distribution: k3s, namespace: ai}
nodes:
  - {name: module, k3sRole: agent, memory: 8Gi, gpus: [{model: Jetson Orin Nano 8 GB}]}
  - {name: spark, k3sRole: server, memory: 128Gi, gpus: [{model: DGX Spark}]}
services:
  - {name: small, engines: [ollama], image: "ollama/ollama:0.20.5", port: 11434, gpus: 1, node: module,
     models: ["qwen3.5:9b"]}
  - {name: home, image: "ghcr.io/home-assistant/home-assistant:2026.8", port: 8123, node: module,
     memory: {request: 5Gi}}
  - {name: large, engines: [ollama], image: "ollama/ollama:0.20.5", port: 11434, gpus: 1, node: spark,
     models: ["gpt-oss:120b"]}
  - {name: store, image: "example.org/db:1", port: 5432, node: spark, memory: {request: 100Gi}}
"""
"""A Jetson with Home Assistant and a DGX Spark with a database (defilantech/LLMKube 698)."""

MAC = """\
apiVersion: corral/v1
name: with-mac
nodes:
  - {name: linux, memory: 64Gi, gpus: [{model: RTX 3060 12GB}]}
  - {name: mini, os: macos, memory: 24Gi, gpus: [{model: Apple M4}]}
services:
  - {name: chat, engines: [ollama], port: 11434, node: mini, gpus: 1, models: ["gemma3:27b"]}
"""
"""A Mac mini of 24 GB next to a card (jundot/omlx 631)."""

FOREIGN = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat, namespace: llm}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      runtimeClassName: nvidia
      nodeSelector: {kubernetes.io/hostname: red}
      containers:
        - name: chat
          image: ollama/ollama:0.12.6
          resources: {limits: {nvidia.com/gpu: 1}}
"""


def errors_of(text: str) -> list[str]:
    planned, answer = plan(text), render(text)
    sources = [Source(name=path, text=file) for path, file in answer.files.items()]
    findings = lint(sources, cluster=planned.file.cluster).findings
    return [f"{finding.rule.id} {finding.what}" for finding in findings if finding.weight is Severity.ERROR]


def test_one_card_for_two_services_has_one_answer() -> None:
    (layout,) = plan(ONE_CARD).plans
    files = render(ONE_CARD).files

    assert [replica.gpus for replica in layout.placed] == [(0,), (0,)]
    there = read_compose(files)["tower"]
    devices = [there[name]["deploy"]["resources"]["reservations"]["devices"][0] for name in ("chat", "voice")]
    assert [device["device_ids"] for device in devices] == [["0"], ["0"]]
    assert "timeSlicing" in files["kubernetes/helm/nvidia-device-plugin.yaml"]
    assert errors_of(ONE_CARD) == []


def test_cards_of_three_makers_are_each_given_out_by_their_own_means() -> None:
    files = render(MIXED).files

    limits = {
        name: container["resources"]["limits"]
        for name, pod in read_pods(files).items()
        for container in pod["containers"]
        if name.startswith("on-")
    }
    assert limits == {
        "on-green": {"nvidia.com/gpu": "1"},
        "on-red": {"amd.com/gpu": "1"},
        "on-halo": {"amd.com/gpu": "1"},
        "on-blue": {"gpu.intel.com/i915": "1"},
    }
    assert errors_of(MIXED) == []


def test_a_manifest_for_nvidia_on_a_machine_of_amd_is_an_error() -> None:
    findings = lint([Source(name="chat.yaml", text=FOREIGN)], cluster=plan(MIXED).file.cluster).findings
    errors = {finding.rule.id for finding in findings if finding.weight is Severity.ERROR}
    assert "A07" in errors


def test_a_resource_of_another_maker_is_an_error_on_the_machine_it_is_pinned_to() -> None:
    cluster = plan(MIXED).file.cluster
    answers: dict[str, bool] = {}
    for resource in ("amd.com/gpu", "gpu.intel.com/xe"):
        text = FOREIGN.replace("nvidia.com/gpu", resource).replace("      runtimeClassName: nvidia\n", "")
        findings = lint([Source(name="chat.yaml", text=text)], cluster=cluster).findings
        answers[resource] = any(finding.rule.id == "A07" for finding in findings)
    assert answers == {"amd.com/gpu": False, "gpu.intel.com/xe": True}


def test_memory_of_a_module_is_counted_once() -> None:
    (layout,) = plan(UNIFIED).plans
    by_node = {"module": {"small", "home"}, "spark": {"large", "store"}}
    placed = {replica.demand for replica in layout.placed}
    assert all(len(placed & services) == 1 for services in by_node.values())

    draws = {
        node.node: node.full.system.value for node in work_out_power(PowerAsked(cluster=FileText(text=UNIFIED))).nodes
    }
    assert draws == {"module": 15, "spark": 140}


def test_a_model_that_a_mac_cannot_give_its_gpu_has_no_place_there() -> None:
    (layout,) = plan(MAC).plans
    (missing,) = layout.missing
    reasons = {refusal.gpu_or_node: refusal.reason for refusal in missing.refusals}
    assert reasons["mini/gpu0"].endswith("of the memory that GPU and machine share, 15.5 GiB usable")

    smaller = MAC.replace("gemma3:27b", "qwen3:14b")
    assert plan(smaller).plans[0].missing == ()
    answer = render(smaller)
    assert read_compose(answer.files) == {}
    assert any("http://mini:11434" in note for note in answer.notes)
    (route,) = yaml.safe_load(answer.files["litellm/all/config.yaml"])["model_list"]
    assert route["litellm_params"]["api_base"] == "http://mini:11434"
