"""A card that the plan shares is rendered shared, or the plan says that it cannot be deployed."""

from __future__ import annotations

from typing import Any

import yaml

from doubles.answers import make_text, plan, read_compose, read_pods, render

KUBERNETES = {"distribution": "k3s", "namespace": "ai"}
SERVICES = [
    {"name": "ollama", "engines": ["ollama"], "port": 11434, "gpuMemory": "12Gi"},
    {"name": "whisper", "engines": ["whisper"], "image": "example.org/whisper:1", "port": 8000, "gpuMemory": "5Gi"},
]


def a_node(name: str, *models: str) -> dict[str, Any]:
    return {"name": name, "k3sRole": "server", "memory": "64Gi", "gpus": [{"model": model} for model in models]}


def test_containers_on_one_card_have_the_same_card() -> None:
    there = read_compose(render(make_text([a_node("box", "RTX 3090")], SERVICES)).files)["box"]
    devices = [there[name]["deploy"]["resources"]["reservations"]["devices"][0] for name in ("ollama", "whisper")]
    assert [device["device_ids"] for device in devices] == [["0"], ["0"]]
    assert there["ollama"]["environment"]["OLLAMA_MAX_LOADED_MODELS"] == "1"


def test_the_only_card_of_a_node_is_cut_into_slices() -> None:
    files = render(make_text([a_node("box", "RTX 3090")], SERVICES, kubernetes=KUBERNETES)).files

    values = yaml.safe_load(files["kubernetes/helm/nvidia-device-plugin.yaml"])
    configuration = yaml.safe_load(values["config"]["map"]["slices-2"])
    assert configuration["sharing"]["timeSlicing"]["resources"] == [{"name": "nvidia.com/gpu", "replicas": 2}]
    patch = yaml.safe_load(files["kubernetes/nodes/box.yaml"])
    assert patch["metadata"]["labels"]["nvidia.com/device-plugin.config"] == "slices-2"
    assert yaml.safe_load(files["kubernetes/base/quotas.yaml"])["spec"]["hard"] == {"requests.nvidia.com/gpu": "2"}
    pods = read_pods(files)
    assert {name: pod["nodeSelector"]["kubernetes.io/hostname"] for name, pod in pods.items()} == {
        "ollama": "box",
        "whisper": "box",
    }


def test_one_of_several_cards_is_shared_by_one_claim() -> None:
    services = [*SERVICES, {"name": "images", "engines": ["comfyui"], "image": "example.org/c:1", "gpus": 1}]
    files = render(make_text([a_node("box", "RTX 3090", "RTX 3090")], services, kubernetes=KUBERNETES)).files

    pods = read_pods(files)
    claims = {name: pod["resourceClaims"][0] for name, pod in pods.items()}
    assert claims["ollama"] == claims["whisper"]
    assert "resourceClaimTemplateName" in claims["images"]
    (claim,) = yaml.safe_load_all(files["kubernetes/overlays/all/shared-gpus.yaml"])
    assert claim["metadata"]["name"] == claims["ollama"]["resourceClaimName"]
    assert "shared-gpus.yaml" in files["kubernetes/overlays/all/kustomization.yaml"]


def problems_of(text: str) -> list[str]:
    return [caution.what for caution in plan(text).plans[0].cautions if "cannot be deployed" in caution.what]


def test_a_card_that_kubernetes_cannot_share_is_said_by_the_plan_and_by_what_is_rendered() -> None:
    several = make_text(
        [a_node("box", "RTX 3090", "RTX 3090")],
        [*SERVICES, {"name": "images", "engines": ["comfyui"], "image": "example.org/c:1", "gpus": 1}],
        kubernetes=KUBERNETES | {"gpuMode": "devicePlugin"},
    )
    amd = make_text(
        [a_node("box", "RX 7900 XTX")],
        [SERVICES[0], SERVICES[1] | {"image": "example.org/whisper:1-rocm"}],
        kubernetes=KUBERNETES,
    )
    apart = make_text(
        [a_node("box", "RTX 3090", "RTX 3090")],
        [SERVICES[0], SERVICES[1] | {"namespace": "voice"}],
        kubernetes=KUBERNETES | {"gpuMode": "dra"},
    )
    for text in (several, amd, apart):
        (problem,) = problems_of(text)
        assert any(problem in note for note in render(text).notes)


def test_what_kubernetes_shares_is_no_problem() -> None:
    text = make_text([a_node("box", "RTX 3090")], SERVICES, kubernetes=KUBERNETES)
    assert problems_of(text) == []
