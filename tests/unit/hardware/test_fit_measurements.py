"""Needs by name, next to what llama.cpp, Ollama and vLLM printed where people published it.

The rows are those of docs/concepts/fit.md, where each has its link. MiB; logs that print GiB were converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from corral.hardware.fit.memory import Running, compute_parts, count_block_cache_bytes
from corral.hardware.fit.names import estimate_shape
from corral.hardware.fit.shape import ModelShape

PAGE = Path(__file__).parents[3] / "docs/concepts/fit.md"
MIB = 2**20
USUAL = Running()


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One printed size."""

    name: str
    what: str
    mib: float
    source: str
    running: Running = USUAL


LONG = Running(context=215_000, cache_type_k="q8_0", cache_type_v="q8_0")
MATCHING = (
    Measurement(name="qwen2.5:14b", what="weights", mib=8148.38, source="ollama/ollama/issues/9091"),
    Measurement(
        name="qwen2.5:14b",
        what="cache",
        mib=1536.00,
        source="ollama/ollama/issues/9091",
        running=Running(context=2048, parallel=4),
    ),
    Measurement(name="qwen3:30b-a3b", what="file", mib=17.28 * 1024, source="ggml-org/llama.cpp/issues/14235"),
    Measurement(name="gemma3:4b", what="file", mib=2.31 * 1024, source="ggml-org/llama.cpp/pull/22790"),
    Measurement(name="llama3.1:70b-instruct-q4_0", what="file", mib=37.22 * 1024, source="ollama/ollama/pull/6279"),
    Measurement(name="qwen2.5:32b-instruct-q5_K_S", what="file", mib=21.08 * 1024, source="ollama/ollama/issues/8984"),
    Measurement(name="qwen3:32b", what="file", mib=18.81 * 1024, source="ollama/ollama/issues/14774"),
    Measurement(name="llama3.1:8b-instruct-fp16", what="file", mib=15317.02, source="ollama/ollama/issues/8361"),
    Measurement(name="gpt-oss:20b", what="weights", mib=11.7 * 1024, source="ollama/ollama/issues/11711"),
    Measurement(name="qwen2.5-coder:3b", what="cache", mib=144.00, source="SciSharp/LLamaSharp/issues/1099"),
    Measurement(
        name="gemma4:e4b",
        what="cache of full layers",
        mib=2048.00,
        source="ggml-org/llama.cpp/issues/21730",
        running=Running(context=131_072),
    ),
    Measurement(
        name="qwen3.8:27b",
        what="states",
        mib=448.88,
        source="ggml-org/llama.cpp/pull/23792",
        running=Running(parallel=3),
    ),
    Measurement(
        name="qwen3.8:27b@IQ4_XS",
        what="all",
        mib=23_264,
        source="noonghunna/club-3090/issues/1380",
        running=LONG,
    ),
    Measurement(
        name="Qwen/Qwen3-4B", what="weights", mib=7.6785 * 1024, source="kyuz0/amd-strix-halo-vllm-toolboxes/pull/5"
    ),
    Measurement(
        name="Qwen/Qwen3-30B-A3B", what="weights", mib=4 * 14.2474 * 1024, source="vllm-project/vllm/issues/17469"
    ),
)
OFF = (
    Measurement(
        name="qwen3:32b-q6_K",
        what="all",
        mib=36 * 1024,
        source="ollama/ollama/issues/10740",
        running=Running(context=32_768),
    ),
    Measurement(
        name="qwen3.8:27b@IQ4_XS",
        what="all",
        mib=22_356,
        source="noonghunna/club-3090/issues/1123",
        running=Running(context=262_144, cache_type_k="q4_0", cache_type_v="q4_0"),
    ),
    Measurement(
        name="nvidia/Qwen3.8-27B-NVFP4", what="all weights", mib=19.75 * 1024, source="noonghunna/club-3090/issues/1047"
    ),
    Measurement(
        name="TechxGenus/DeepSeek-Coder-V2-Lite-Instruct-AWQ",
        what="weights",
        mib=10.45 * 1024,
        source="vllm-project/vllm/pull/13109",
    ),
)


def compute(measurement: Measurement) -> float:
    """Work out in MiB what a measurement is of."""
    shape = estimate_shape(measurement.name)
    assert shape is not None
    parts = compute_parts(shape, measurement.running)
    assert parts.cache is not None
    sizes = {
        "weights": parts.weights.value,
        "all weights": float(shape.weights),
        "file": float(shape.weights - shape.vision),
        "cache": parts.cache.value,
        "cache of full layers": count_cache_of_full_layers(shape, measurement.running),
        "states": float(sum(4 * block.state_numbers * measurement.running.parallel for block in shape.blocks)),
        "all": float(parts.on_one_gpu),
    }
    return sizes[measurement.what] / MIB


def count_cache_of_full_layers(shape: ModelShape, running: Running) -> float:
    full = (block for block in shape.blocks if block.attention and block.attention.window is None)
    return float(sum(count_block_cache_bytes(block, running) for block in full))


@pytest.mark.parametrize("measurement", MATCHING, ids=lambda row: f"{row.name} {row.what}")
def test_a_need_by_name_is_within_five_percent_of_what_was_published(measurement: Measurement) -> None:
    assert compute(measurement) == pytest.approx(measurement.mib, rel=0.05)


@pytest.mark.parametrize("measurement", OFF, ids=lambda row: row.name)
def test_a_need_that_is_further_off_is_listed_as_that(measurement: Measurement) -> None:
    """Each has its reason on the page; one that comes within five percent belongs to the others."""
    assert compute(measurement) == pytest.approx(measurement.mib, rel=0.25)
    assert compute(measurement) != pytest.approx(measurement.mib, rel=0.05)


def test_the_page_lists_every_measurement_with_its_source() -> None:
    text = PAGE.read_text(encoding="utf-8")

    for measurement in (*MATCHING, *OFF):
        assert measurement.source in text
        assert f"`{measurement.name}`" in text
