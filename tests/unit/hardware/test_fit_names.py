"""What is estimated from a model's name alone."""

from __future__ import annotations

import pytest

from corral.figures import Origin
from corral.hardware.fit.memory import Running, count_cache_bytes
from corral.hardware.fit.names import estimate_need, estimate_shape
from corral.hardware.fit.precisions import make_gguf_precision
from corral.hardware.fit.published import Published, find_published, list_published
from corral.hardware.fit.published_shape import count_parameters
from corral.hardware.fit.quantizations import BITS, count_bits, get_bits_per_weight
from corral.hardware.fit.splitting import count_active_bytes

GB = 10**9
GIB = 2**30


def test_deepseek_r1_70b_takes_about_42_gb_and_does_not_fit_24_gib() -> None:
    need = estimate_need("ollama", "deepseek-r1:70b")

    assert need is not None
    assert need.divisible.value / GB == pytest.approx(43, abs=1.5)
    assert need.divide(1) > 24 * GIB
    assert need.divide(2) < 24 * GIB


@pytest.mark.parametrize(
    ("name", "billions", "quantization"),
    [
        ("deepseek-r1:70b", 70.6, "Q4_K_M"),
        ("llama3", 8.03, "Q4_K_M"),
        ("llama3:latest", 8.03, "Q4_K_M"),
        ("mistral", 7.25, "Q4_K_M"),
        ("llama3.2:1b", 1.24, "Q8_0"),
        ("llama3:8b-instruct-q8_0", 8.03, "Q8_0"),
        ("qwen3:30b-a3b", 30.5, "Q4_K_M"),
        ("qwen3:30b", 30.5, "Q4_K_M"),
        ("qwen3:235b", 235, "Q4_K_M"),
        ("huihui_ai/qwen3-abliterated:30b-a3b", 30.5, "Q4_K_M"),
        ("hf.co/bartowski/Qwen2.5-7B-Instruct-GGUF:Q5_K_M", 7.62, "Q5_K_M"),
        ("hf.co/bartowski/Qwen_Qwen3-32B-GGUF:IQ4_XS", 32.8, "IQ4_XS"),
        ("Qwen/Qwen3-8B-GGUF", 8.19, "Q4_K_M"),
        ("Qwen3-30B-A3B-Instruct-2507-UD-Q4_K_XL", 30.5, "Q4_K_M"),
        ("33b@q4_k_m", 33, "Q4_K_M"),
        ("llama3:8b-instruct-fp16", 8.03, "F16"),
        ("llama3:8b-instruct-bf16", 8.03, "BF16"),
        ("llama3:8b-instruct-q4_0", 8.03, "Q4_0"),
        ("llama3:8b-instruct-q3_K_M", 8.03, "Q3_K_M"),
        ("gemma3:27b-it-qat", 27.4, "Q4_0"),
        ("gemma2:27b", 27.2, "Q4_0"),
        ("gpt-oss", 20.9, "MXFP4"),
        ("mixtral:8x7b", 46.7, "Q4_0"),
        ("smollm2-135m-instruct", 0.135, "F16"),
        ("deepseek-r1:671b", 671, "Q4_K_M"),
        ("deepseek-r1", 8.19, "Q4_K_M"),
    ],
)
def test_a_name_of_ollama_or_of_a_gguf_file_means_what_is_served_under_it(
    name: str, billions: float, quantization: str
) -> None:
    shape = estimate_shape(name)

    assert shape is not None
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert shape.quantization == quantization
    assert shape.is_embedding_on_cpu


@pytest.mark.parametrize(
    ("name", "gigabytes", "quantization"),
    [
        ("meta-llama/Meta-Llama-3-8B-Instruct", 16.06, "BF16"),
        ("meta-llama/Llama-3.3-70B-Instruct", 141.1, "BF16"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", 61.1, "BF16"),
        ("Qwen/Qwen3-30B-A3B-FP8", 31.2, "FP8"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", 41.6, "AWQ"),
        ("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", 19.4, "GPTQ"),
        ("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int8", 34.9, "GPTQ"),
        ("RedHatAI/Llama-3.3-70B-Instruct-quantized.w4a16", 39.8, "INT4"),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", 5.7, "bitsandbytes"),
        ("openai/gpt-oss-120b", 65.3, "MXFP4"),
        ("deepseek-ai/DeepSeek-R1", 673, "FP8"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 65.5, "BF16"),
        ("mlx-community/Qwen3-30B-A3B-4bit", 17.2, "MLX 4 bits"),
        ("nvidia/Qwen3-30B-A3B-NVFP4", 18.1, "NVFP4"),
    ],
)
def test_a_repository_is_in_16_bits_unless_its_name_or_its_publisher_says_otherwise(
    name: str, gigabytes: float, quantization: str
) -> None:
    """Sizes are those of the repositories' safetensors where they are listed, else what the bits come to."""
    shape = estimate_shape(name)

    assert shape is not None
    assert shape.quantization == quantization
    assert shape.weights / 1e9 == pytest.approx(gigabytes, rel=0.03)
    assert not shape.is_embedding_on_cpu
    assert shape.weights_on_gpu == shape.weights


def test_the_same_name_is_of_ollama_for_ollama_and_a_repository_for_others() -> None:
    bare, ollama = estimate_shape("someone/Qwen3-8B"), estimate_shape("someone/Qwen3-8B", engine="ollama")

    assert bare is not None
    assert ollama is not None
    assert (bare.quantization, ollama.quantization) == ("BF16", "Q4_K_M")


@pytest.mark.parametrize(
    "name",
    [
        "nomic-embed-text",
        "gpt-oss:120b-cloud",
        "",
        ":",
        "0b",
        "my-model",
        "mymodel:7b",
        "qwen3.9:27b",
        "microsoft/Phi-4-multimodal-instruct",
        "glm-4.5v",
        "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B",
        "Qwen3-0.6B-draft",
        "llama-3.2-8x3b-moe",
        "33b@q9",
        "9" * 400 + "b",
        "0.0001m",
    ],
)
def test_a_name_that_no_published_model_has_is_not_guessed(name: str) -> None:
    assert estimate_need("ollama", name) is None


@pytest.mark.parametrize(
    "name",
    ["wan2.2-t2v-14b", "hunyuan-video-13b", "ltx-video:13b", "flux.1-dev-12b", "qwen-image-20b", "hidream-i1-17b"],
)
def test_a_model_of_images_or_video_is_no_language_model_of_its_size(name: str) -> None:
    assert estimate_shape(name) is None


@pytest.mark.parametrize("model", list_published(), ids=lambda model: model.id)
def test_dimensions_come_to_the_weights_that_the_publisher_counts(model: Published) -> None:
    """A wrong layer, width or number of experts would show; `millions` is from the model's own page."""
    counted = count_parameters(model) / 1e6

    assert model.id.count("/") == 1
    assert model.millions is None or counted == pytest.approx(model.millions, rel=0.01)


def test_each_name_of_the_table_finds_its_own_model() -> None:
    for model in list_published():
        for name in (*model.names, *model.defaults):
            assert find_published(name) is model, name


@pytest.mark.parametrize(
    ("name", "bytes_of_a_token"),
    [
        ("qwen3:30b-a3b", 48 * 2 * 4 * 128 * 2),
        ("qwen3.5:27b", 16 * 2 * 4 * 256 * 2),
        ("qwen3-next:80b", 12 * 2 * 2 * 256 * 2),
        ("deepseek-v3", 61 * (512 + 64) * 2),
        ("granite4:small-h", 4 * 2 * 8 * 128 * 2),
        ("nemotron-3-nano:30b", 6 * 2 * 2 * 128 * 2),
        ("gemma3:27b", 10 * 2 * 16 * 128 * 2),
        ("gpt-oss:20b", 12 * 2 * 8 * 64 * 2),
        ("gemma4:31b", 10 * 2 * 4 * 512 * 2),
    ],
)
def test_beyond_every_window_a_token_takes_cache_in_layers_of_full_attention_alone(
    name: str, bytes_of_a_token: int
) -> None:
    shape = estimate_shape(name)
    assert shape is not None
    short, long = (count_cache_bytes(shape, Running(context=context)) for context in (65_536, 131_072))

    assert short is not None
    assert long is not None
    assert long - short == 65_536 * bytes_of_a_token


def test_a_mixture_of_experts_takes_the_memory_of_all_and_the_time_of_those_in_use() -> None:
    shape = estimate_shape("qwen3:30b-a3b")
    assert shape is not None
    read = sum(count_active_bytes(block, shape) for block in shape.blocks)

    assert shape.weights / GIB == pytest.approx(17.3, rel=0.02)
    assert read / GIB == pytest.approx(1.55, rel=0.05)


def test_a_token_reads_the_experts_that_it_uses_and_no_image_encoder() -> None:
    mixture, seeing = estimate_need("ollama", "qwen3:30b-a3b"), estimate_need("ollama", "gemma3:27b")

    assert mixture is not None
    assert mixture.read is not None
    assert mixture.read.value < mixture.divisible.value / 8
    assert seeing is not None
    assert seeing.read is not None
    assert seeing.read.value < seeing.divisible.value - 0.8 * GB


def test_a_model_in_16_bits_takes_two_bytes_for_each_weight() -> None:
    need = estimate_need("ollama", "llama3:8b-instruct-fp16")

    assert need is not None
    assert need.divisible.value == pytest.approx(2 * 8e9, rel=0.05)


def test_an_estimate_says_that_it_is_one_and_what_it_is_made_of() -> None:
    plain, named = estimate_need("ollama", "70b@q4_k_m"), estimate_need("ollama", "deepseek-r1:70b")

    assert plain is not None
    assert "assumed: 70B parameters by the name" in plain.divisible.source
    assert named is not None
    assert "declared: dimensions of meta-llama/Llama-3.1-70B" in named.divisible.source
    assert "4.8944 bits" in named.divisible.source


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


@pytest.mark.parametrize("quantization", BITS)
def test_the_parts_of_a_quantization_come_to_what_was_measured_on_llama_3_1_8b(quantization: str) -> None:
    precision = make_gguf_precision(quantization)
    matrix, parameters = 128_256 * 4096, 8_030_261_248
    bits = (
        precision.layer_bits * (parameters - 2 * matrix) + (precision.embedding_bits + precision.output_bits) * matrix
    )

    assert bits / parameters == pytest.approx(BITS[quantization])
    assert precision.layer_bits < 1.06 * BITS[quantization]


@pytest.mark.parametrize(
    ("name", "file_gb", "parameters_b"),
    [("gpt-oss:20b", 13.8, 20.9), ("gpt-oss", 13.8, 20.9), ("openai/gpt-oss-120b", 65.3, 116.8)],
)
def test_gpt_oss_is_as_large_as_its_files_and_not_as_q4_k_m_would_be(
    name: str, file_gb: float, parameters_b: float
) -> None:
    shape = estimate_shape(name)

    assert shape is not None
    assert (shape.quantization, shape.origin) == ("MXFP4", Origin.DECLARED)
    assert shape.weights / GB == pytest.approx(file_gb, rel=0.005)
    assert shape.parameters / 1e9 == pytest.approx(parameters_b, rel=0.002)


def test_gpt_oss_in_another_quantization_is_what_its_name_says() -> None:
    shape = estimate_shape("hf.co/unsloth/gpt-oss-20b-GGUF:Q5_K_M")

    assert shape is not None
    assert shape.quantization == "Q5_K_M"
