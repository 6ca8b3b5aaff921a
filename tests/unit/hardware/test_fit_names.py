"""What is estimated from a model's name alone."""

from __future__ import annotations

import pytest

from corral.figures import Origin
from corral.hardware.fit.names import estimate_need, estimate_shape, read_name
from corral.hardware.fit.quantizations import BITS, count_bits, get_bits_per_weight

GB = 10**9
GIB = 2**30


def test_deepseek_r1_70b_takes_about_42_gb_and_does_not_fit_24_gib() -> None:
    need = estimate_need("ollama", "deepseek-r1:70b")

    assert need is not None
    assert need.divisible.value / GB == pytest.approx(43, abs=1.5)
    assert need.divide(1) > 24 * GIB
    assert need.divide(2) < 24 * GIB


@pytest.mark.parametrize(
    ("name", "parameters", "quantization"),
    [
        ("deepseek-r1:70b", 70e9, "Q4_K_M"),
        ("llama3", 8e9, "Q4_K_M"),
        ("llama3:latest", 8e9, "Q4_K_M"),
        ("mistral", 7e9, "Q4_K_M"),
        ("llama3.2:1b", 1e9, "Q4_K_M"),
        ("llama3:8b-instruct-q8_0", 8e9, "Q8_0"),
        ("qwen3:30b-a3b", 30e9, "Q4_K_M"),
        ("hf.co/bartowski/Qwen2.5-7B-Instruct-GGUF:Q5_K_M", 7e9, "Q5_K_M"),
        ("33b@q4_k_m", 33e9, "Q4_K_M"),
        ("llama3:8b-instruct-fp16", 8e9, "F16"),
        ("llama3:8b-instruct-bf16", 8e9, "BF16"),
        ("llama3:8b-instruct-q4_0", 8e9, "Q4_0"),
        ("llama3:8b-instruct-q3_K_M", 8e9, "Q3_K_M"),
        ("smollm2-135m-instruct", 135e6, "Q4_K_M"),
    ],
)
def test_a_name_says_its_size_and_quantization(name: str, parameters: float, quantization: str) -> None:
    read = read_name(name)

    assert read is not None
    assert (read.parameters, read.quantization) == (parameters, quantization)


@pytest.mark.parametrize(
    "name",
    [
        "nomic-embed-text",
        "mixtral:8x7b",
        "gpt-oss:120b-cloud",
        "gemma3n:e4b",
        "",
        ":",
        "0b",
        "my-model",
        "33b@q9",
        "9" * 400 + "b",
        "0.0001m",
    ],
)
def test_a_name_that_says_no_size_is_not_guessed(name: str) -> None:
    assert estimate_need("ollama", name) is None


def test_a_model_in_16_bits_takes_two_bytes_for_each_weight() -> None:
    need = estimate_need("ollama", "llama3:8b-instruct-fp16")

    assert need is not None
    assert need.divisible.value == pytest.approx(2 * 8e9, rel=0.05)


def test_an_estimate_says_that_it_is_one_and_what_it_is_made_of() -> None:
    need = estimate_need("ollama", "deepseek-r1:70b")

    assert need is not None
    assert "assumed" in need.divisible.source
    assert "70B parameters" in need.divisible.source
    assert "4.8944 bits" in need.divisible.source


def test_a_longer_context_needs_more() -> None:
    short, long = (estimate_need("ollama", "llama3", context=context) for context in (4096, 32_768))

    assert short is not None
    assert long is not None
    assert long.divisible.value - short.divisible.value == (32_768 - 4096) * 32 * 2 * 8 * 128 * 2


def test_models_of_an_engine_that_is_not_known_need_nothing_that_is_known() -> None:
    assert estimate_need("sleep", "7b") is None


def test_the_bits_that_are_computed_agree_with_those_that_were_measured() -> None:
    """Work out Q4_K_M and Q3_K_M of Llama 3.1 8B tensor by tensor, as `llama_tensor_get_type` mixes their types."""
    layers, width, ffn, vocabulary, parameters = 32, 4096, 14336, 128_256, 8_030_261_248
    query, value, down = width * width, width * width // 4, width * ffn
    embedding = vocabulary * width

    def mixed(base: float, output: float, more: float, layers_with_more: int, usual: float) -> float:
        often = layers_with_more / layers
        mix = often * more + (1 - often) * usual
        block = (query + value + 2 * down) * base + query * output + (value + down) * mix
        norms = (2 * layers + 1) * width
        return (layers * block + embedding * (base + count_bits("Q6_K")) + 32 * norms) / parameters

    q3, q4, q5, q6 = (count_bits(kind) for kind in ("Q3_K", "Q4_K", "Q5_K", "Q6_K"))
    assert mixed(q4, q4, q6, 16, q4) == pytest.approx(BITS["Q4_K_M"], abs=1e-4)
    assert mixed(q3, q4, q5, 2, q4) == pytest.approx(get_bits_per_weight("Q3_K_M")[0], abs=1e-4)
    for kind in ("Q4_0", "Q4_1", "Q5_0", "Q5_1"):
        plain = count_bits(kind)
        assert mixed(plain, plain, plain, 0, plain) == pytest.approx(get_bits_per_weight(kind)[0], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "file_gb", "parameters_b"),
    [("gpt-oss:20b", 13.8, 20.9), ("gpt-oss", 13.8, 20.9), ("openai/gpt-oss-120b", 65.3, 116.8)],
)
def test_gpt_oss_is_as_large_as_its_files_and_not_as_q4_k_m_would_be(
    name: str, file_gb: float, parameters_b: float
) -> None:
    shape = estimate_shape(name)

    assert shape is not None
    assert (shape.quantization, shape.origin) == ("MXFP4", Origin.ASSUMED)
    assert shape.weights / GB == pytest.approx(file_gb, rel=0.005)
    assert shape.parameters / 1e9 == pytest.approx(parameters_b, rel=0.002)


def test_gpt_oss_in_another_quantization_is_what_its_name_says() -> None:
    shape = estimate_shape("hf.co/unsloth/gpt-oss-20b-GGUF:Q5_K_M")

    assert shape is not None
    assert shape.quantization == "Q5_K_M"
