"""What vLLM and SGLang refuse at their start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from corral.hardware.fit.serving import (
    Server,
    Serving,
    ServingGpu,
    describe_gpu,
    find_obstacles,
    read_serving,
)

GIB = 2**30
RTX_3090 = ServingGpu(name="RTX 3090", memory=24 * GIB, cuda_capability=(8, 6))
V100 = ServingGpu(name="V100", memory=32 * GIB, cuda_capability=(7, 0))
P40 = ServingGpu(name="P40", memory=24 * GIB, cuda_capability=(6, 1))
H200 = ServingGpu(name="H200", memory=141 * GIB, cuda_capability=(9, 0))


@pytest.mark.parametrize(
    ("image", "command", "serving"),
    [
        (
            "vllm/vllm-openai:v0.11.0",
            "--model Qwen/Qwen3-8B-AWQ --tensor-parallel-size=2 --gpu-memory-utilization 0.85 --max-model-len 32k",
            Serving(server=Server.VLLM, model="Qwen/Qwen3-8B-AWQ", tensor_parallel=2, share=0.85, context=32_768),
        ),
        (
            "ghcr.io/someone/server:1",
            "vllm serve openai/gpt-oss-20b --kv-cache-dtype fp8",
            Serving(server=Server.VLLM, model="openai/gpt-oss-20b", cache_bits=8),
        ),
        (
            "lmsysorg/sglang:v0.5.3",
            "python3 -m sglang.launch_server --model-path Qwen/Qwen3-32B --tp 4 --mem-fraction-static 0.8",
            Serving(server=Server.SGLANG, model="Qwen/Qwen3-32B", tensor_parallel=4, share=0.8),
        ),
        ("ollama/ollama:0.12.6", "serve", None),
        ("vllm/vllm-openai:v0.11.0", "--help", None),
    ],
)
def test_an_image_and_its_command_say_what_is_served(image: str, command: str, serving: Serving | None) -> None:
    assert read_serving(image, command) == serving


def a_server(model: str, parallel: int = 1, share: float | None = None, context: int | None = 4096) -> Serving:
    return Serving(server=Server.VLLM, model=model, tensor_parallel=parallel, share=share, context=context)


@pytest.mark.parametrize(
    ("model", "parallel", "obstacle"),
    [
        ("Qwen/Qwen2.5-14B-Instruct", 3, "40 attention heads"),
        ("Qwen/Qwen2.5-7B-Instruct", 8, "28 attention heads"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", 4, "groups of 128"),
        ("Qwen/Qwen3-30B-A3B-FP8", 4, "blocks of 128"),
        ("microsoft/phi-4", 4, "10 key-value heads"),
    ],
)
def test_matrices_that_cannot_be_cut_into_so_many_parts_are_named(model: str, parallel: int, obstacle: str) -> None:
    (reason,) = find_obstacles(a_server(model, parallel), ())

    assert obstacle in reason


@pytest.mark.parametrize(
    ("model", "parallel"),
    [
        ("Qwen/Qwen2.5-14B-Instruct", 2),
        ("Qwen/Qwen3-30B-A3B", 8),
        ("Qwen/Qwen3-30B-A3B-FP8", 2),
        ("RedHatAI/Qwen3-30B-A3B-FP8-dynamic", 4),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", 1),
        ("someone/unknown-7b", 3),
    ],
)
def test_what_can_be_cut_or_is_unknown_has_no_obstacle(model: str, parallel: int) -> None:
    assert find_obstacles(a_server(model, parallel), ()) == ()


@pytest.mark.parametrize(
    ("model", "gpu", "obstacle"),
    [
        ("Qwen/Qwen3-8B-AWQ", V100, "AWQ in vLLM needs compute capability 7.5"),
        ("Qwen/Qwen3-8B-FP8", V100, "FP8 in vLLM needs compute capability 7.5"),
        ("openai/gpt-oss-20b", V100, "MXFP4 in vLLM needs compute capability 8.0"),
        ("Qwen/Qwen3-4B", P40, "vLLM needs compute capability 7.0, and P40 has 6.1"),
    ],
)
def test_a_card_that_is_too_old_for_a_quantization_is_named(model: str, gpu: ServingGpu, obstacle: str) -> None:
    (reason,) = find_obstacles(a_server(model), (gpu,))

    assert obstacle in reason


def test_fp8_runs_on_cards_without_it_as_weights_alone() -> None:
    assert find_obstacles(a_server("Qwen/Qwen3-8B-FP8"), (RTX_3090,)) == ()


def test_weights_have_to_be_within_the_share_of_each_gpu() -> None:
    model = "Qwen/Qwen3-32B-AWQ"

    assert find_obstacles(a_server(model), (RTX_3090,)) == ()
    (reason,) = find_obstacles(a_server(model, share=0.5), (RTX_3090,))
    assert "0.5 of 24.0 GiB is 12.0 GiB" in reason
    assert find_obstacles(a_server(model, parallel=2, share=0.5), (RTX_3090, RTX_3090)) == ()


def test_the_longest_context_has_to_fit_next_to_the_weights() -> None:
    (reason,) = find_obstacles(a_server("meta-llama/Llama-3.1-8B-Instruct", context=None), (RTX_3090,))

    assert "16.0 GiB of cache for 131,072 tokens" in reason
    assert "--max-model-len" in reason
    sglang = replace(a_server("meta-llama/Llama-3.1-8B-Instruct", context=None), server=Server.SGLANG)
    assert find_obstacles(sglang, (RTX_3090,)) == ()
    assert find_obstacles(a_server("meta-llama/Llama-3.1-8B-Instruct", context=16_384), (RTX_3090,)) == ()
    assert find_obstacles(a_server("meta-llama/Llama-3.1-8B-Instruct", context=None), (H200,)) == ()


def test_more_parts_than_gpus_are_refused() -> None:
    (reason,) = find_obstacles(a_server("Qwen/Qwen3-8B", parallel=2), (RTX_3090,))

    assert reason == "vLLM splits over 2 GPUs and has 1 GPU"


@pytest.mark.parametrize(
    ("model", "capability"), [("Tesla V100", (7, 0)), ("RTX 3060", (8, 6)), ("no such GPU", None), (None, None)]
)
def test_a_name_of_several_models_has_the_capability_that_all_of_them_have(
    model: str | None, capability: tuple[int, int] | None
) -> None:
    assert describe_gpu(model, None).cuda_capability == capability


@pytest.mark.parametrize("model", ["meta-llama/Meta-Llama-3-8B-Instruct", "microsoft/Phi-3-mini-4k-instruct"])
def test_a_model_of_a_short_context_starts_where_its_successor_of_a_long_one_does_not(model: str) -> None:
    gpu = ServingGpu(name="RTX 4090", memory=24 * GIB, cuda_capability=(8, 9))
    successor = "meta-llama/Llama-3.1-8B-Instruct"
    assert find_obstacles(Serving(server=Server.VLLM, model=model), [gpu]) == ()
    assert find_obstacles(Serving(server=Server.VLLM, model=successor), [gpu]) != ()
