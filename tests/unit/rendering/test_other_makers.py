"""GPUs of AMD, Intel and Apple: given out by their own means, and nothing of NVIDIA's on what is not NVIDIA's."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from doubles.answers import make_text, plan, read_compose, read_pods, render

KUBERNETES = {"distribution": "k3s", "namespace": "llm"}
ROCM = "ollama/ollama:0.17.4-rocm"
IPEX = "intelanalytics/ipex-llm-inference-cpp-xpu:2.2.0"


def a_node(name: str, model: str, **parts: Any) -> dict[str, Any]:
    return {"name": name, "k3sRole": "agent", "memory": "64Gi", "gpus": [{"model": model}]} | parts


def an_ollama(name: str, **parts: Any) -> dict[str, Any]:
    return {"name": name, "engines": ["ollama"], "port": 11434, "gpus": 1} | parts


@pytest.mark.parametrize(
    ("model", "image", "resource", "devices"),
    [
        ("RX 7900 XTX", ROCM, "amd.com/gpu", ["/dev/kfd:/dev/kfd", "/dev/dri:/dev/dri"]),
        ("Strix Halo", ROCM, "amd.com/gpu", ["/dev/kfd:/dev/kfd", "/dev/dri:/dev/dri"]),
        ("MI50 32GB", None, "amd.com/gpu", ["/dev/kfd:/dev/kfd", "/dev/dri:/dev/dri"]),
        ("Arc A770", IPEX, "gpu.intel.com/i915", ["/dev/dri:/dev/dri"]),
        ("B60", IPEX, "gpu.intel.com/xe", ["/dev/dri:/dev/dri"]),
    ],
)
def test_a_card_is_given_out_by_its_makers_means(
    model: str, image: str | None, resource: str, devices: list[str]
) -> None:
    service = an_ollama("chat", node="box", **({"image": image} if image else {}))
    files = render(make_text([a_node("box", model)], [service], kubernetes=KUBERNETES)).files

    pod = read_pods(files)["chat"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {resource: "1"}
    assert "runtimeClassName" not in pod
    assert [taint["key"] for taint in pod["tolerations"]] == [resource]

    there = read_compose(files)["box"]["chat"]
    assert there["devices"] == devices
    assert there["group_add"] == ["${VIDEO_GROUP:-video}", "${RENDER_GROUP:-render}"]
    assert "deploy" not in there
    assert there["image"] == (image or ROCM)

    quota = yaml.safe_load(files["kubernetes/base/quotas.yaml"])["spec"]["hard"]
    assert quota == {f"requests.{resource}": "1"}
    assert not [path for path in files if "nvidia" in path]
    ours = [text for path, text in files.items() if path.startswith(("kubernetes/", "compose/", "kueue/", "k3s/"))]
    assert not [text for text in ours if "nvidia" in text.lower()]


def test_two_makers_in_one_machine_are_two_resources_and_need_no_claims() -> None:
    node = a_node("box", "RTX 3090", gpus=[{"model": "RTX 3090"}, {"model": "RX 7900 XTX"}])
    services = [an_ollama("green", image="ollama/ollama:0.17.4"), an_ollama("red", image=ROCM)]
    files = render(make_text([node], services, kubernetes=KUBERNETES)).files

    limits = {name: pod["containers"][0]["resources"]["limits"] for name, pod in read_pods(files).items()}
    assert limits == {"green": {"nvidia.com/gpu": "1"}, "red": {"amd.com/gpu": "1"}}
    there = read_compose(files)["box"]
    assert there["green"]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == ["0"]
    assert "devices" in there["red"]
    assert "devices" not in there["green"]


@pytest.mark.parametrize(
    ("model", "image"),
    [
        ("RX 7900 XTX", "ollama/ollama:0.17.4"),
        ("RX 7900 XTX", "vllm/vllm-openai:v0.11.0"),
        ("Arc A770", "ghcr.io/ggml-org/llama.cpp:server-cuda"),
        ("RTX 3090", ROCM),
        ("RTX 3090", "rocm/vllm:latest"),
        ("Arc A770", ROCM),
        ("RTX 3090", "localai/localai:latest-gpu-hipblas"),
        ("RX 7900 XTX", "onerahmet/openai-whisper-asr-webservice:latest-gpu"),
    ],
)
def test_an_image_for_another_makers_cards_is_refused_with_the_reason(model: str, image: str) -> None:
    text = make_text([a_node("box", model)], [an_ollama("chat", image=image)], kubernetes=KUBERNETES)
    (missing,) = plan(text).plans[0].missing
    assert "computes on" in missing.refusals[0].reason
    answer = render(text)
    assert read_compose(answer.files) == {}
    assert any("cannot compute on its GPU" in note for note in answer.notes)


@pytest.mark.parametrize("image", ["ollama/ollama:0.12.11", None])
def test_ollama_with_vulkan_goes_to_the_cards_of_any_maker(image: str | None) -> None:
    service = an_ollama("chat", env={"OLLAMA_VULKAN": "1"}, **({"image": image} if image else {}))
    placed = plan(make_text([a_node("box", "Arc A770")], [service])).plans[0].placed
    assert [replica.node for replica in placed] == ["box"]


def test_a_service_goes_to_the_cards_that_its_image_is_for() -> None:
    nodes = [a_node("green", "RTX 3090"), a_node("red", "RX 7900 XTX")]
    placed = plan(make_text(nodes, [an_ollama("chat", image=ROCM)])).plans[0].placed
    assert [replica.node for replica in placed] == ["red"]


def test_a_mac_runs_its_services_without_containers_at_an_address() -> None:
    mini = {"name": "mini", "os": "macos", "memory": "24Gi", "gpus": [{"model": "Apple M4"}]}
    nodes = [a_node("linux", "RTX 3060 12GB"), mini]
    services = [an_ollama("chat", node="mini", models=["qwen3:8b"]), {"name": "router", "kind": "litellm"}]
    answer = render(make_text(nodes, services))

    assert "mini" not in read_compose(answer.files)
    assert any("http://mini:11434" in note for note in answer.notes)
    (route,) = yaml.safe_load(answer.files["litellm/all/config.yaml"])["model_list"]
    assert route["litellm_params"]["api_base"] == "http://mini:11434"
    (mounted,) = [text for path, text in answer.files.items() if path.endswith("router/config.yaml")]
    assert "http://mini:11434" in mounted


def test_a_mac_is_known_by_its_system_too() -> None:
    node = {"name": "mini", "os": "macOS 26", "memory": "24Gi", "gpus": [{"memory": "16Gi"}]}
    answer = render(make_text([node], [an_ollama("chat", image="ollama/ollama:0.17.4")]))
    assert read_compose(answer.files) == {}


def test_a_jetson_has_the_runtime_of_its_own_driver() -> None:
    node = a_node("jetson", "Jetson Orin Nano 8GB", memory="8Gi")
    there = read_compose(render(make_text([node], [an_ollama("chat")])).files)["jetson"]["chat"]
    assert there["runtime"] == "nvidia"
    assert "deploy" not in there


def test_queues_count_the_cards_of_each_maker() -> None:
    nodes = [a_node("green", "RTX 3090"), a_node("red", "RX 7900 XTX")]
    files = render(make_text(nodes, [], kubernetes=KUBERNETES)).files
    queue = next(
        document
        for document in yaml.safe_load_all(files["kueue/all/queues.yaml"])
        if document["kind"] == "ClusterQueue"
    )
    (group,) = queue["spec"]["resourceGroups"]
    assert {"nvidia.com/gpu", "amd.com/gpu"} < set(group["coveredResources"])
    quotas = [
        {resource["name"]: resource["nominalQuota"] for resource in flavor["resources"] if "gpu" in resource["name"]}
        for flavor in group["flavors"]
    ]
    assert quotas == [{"nvidia.com/gpu": "1", "amd.com/gpu": "0"}, {"nvidia.com/gpu": "0", "amd.com/gpu": "1"}]


def test_nixos_has_the_firmware_of_cards_that_the_kernel_drives() -> None:
    node = a_node("box", "RX 7900 XTX", os="nixos")
    module = render(make_text([node], [], kubernetes=KUBERNETES)).files["nixos/box.nix"]
    assert "hardware.enableRedistributableFirmware = true;" in module
    assert "hardware.graphics.enable = true;" in module
    assert "nvidia" not in module


def test_a_plan_warns_of_mixed_models_of_one_maker_alone() -> None:
    both = a_node("box", "RTX 3090", gpus=[{"model": "RTX 3090"}, {"model": "RX 7900 XTX"}])
    mixed = a_node("box", "RTX 3090", gpus=[{"model": "RTX 3090"}, {"model": "RTX 4090"}])
    warned = [
        any(
            caution.pitfall == "A11" for caution in plan(make_text([node], [], kubernetes=KUBERNETES)).plans[0].cautions
        )
        for node in (both, mixed)
    ]
    assert warned == [False, True]
