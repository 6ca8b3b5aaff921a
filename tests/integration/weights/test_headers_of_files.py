"""Headers of files on this machine: GGUF, split GGUF, safetensors, folders of them, and files that are none."""

from __future__ import annotations

import json
import os
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType, GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corral.errors import CorralError
from corral.figures import Origin
from corral.hardware.fit.memory import Running, compute_parts
from corral.weights.errors import ModelMissingError
from corral.weights.headers.errors import HeaderError, MoreBytesNeeded, UnknownFormatError
from corral.weights.headers.gguf import read_gguf
from corral.weights.headers.reading import shape_here
from corral.weights.headers.safetensors import read_safetensors
from doubles.tiny_llms import ALL, GEMMA3, LLAMA, MIXTRAL, TinyLlm, write_llm

GENEROUS = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    llm = TinyLlm(layers=1, width=32, feed_forward=32, heads=1, kv_heads=1, head_length=32, vocabulary=300)
    return write_llm(tmp_path_factory.mktemp("small") / "m.gguf", llm).read_bytes()


@pytest.mark.parametrize("name", ALL)
def test_our_reader_finds_what_the_gguf_package_finds(name: str, tmp_path: Path) -> None:
    path = write_llm(tmp_path / "m.gguf", ALL[name])
    reference = GGUFReader(path)

    ours = read_gguf(path.read_bytes(), where="m")

    assert [(tensor.name, tensor.type, tensor.dimensions) for tensor in ours.tensors] == [
        (tensor.name, tensor.tensor_type.name, tuple(map(int, tensor.shape))) for tensor in reference.tensors
    ]
    assert {key: ours.metadata[key] for key in ours.metadata if "tokenizer" not in key} == {
        key: field.contents()
        for key, field in reference.fields.items()
        if "tokenizer" not in key and not key.startswith("GGUF.")
    }


async def test_the_bytes_of_a_model_are_those_of_its_tensors(tmp_path: Path) -> None:
    path = write_llm(tmp_path / "m.gguf", replace(LLAMA, type=GGMLQuantizationType.Q8_0))

    shape = await shape_here(path, name="m")

    assert shape.origin is Origin.MODEL_FILE
    assert shape.weights == sum(tensor.n_bytes for tensor in GGUFReader(path).tensors)
    assert len(shape.blocks) == LLAMA.layers


async def test_every_sixth_layer_of_gemma3_sees_everything(tmp_path: Path) -> None:
    shape = await shape_here(write_llm(tmp_path / "m.gguf", GEMMA3), name="m")

    windows = [block.attention.window for block in shape.blocks if block.attention]
    assert windows == [512] * 5 + [None] + [512] * 2


async def test_a_token_reads_only_the_experts_that_it_uses(tmp_path: Path) -> None:
    shape = await shape_here(write_llm(tmp_path / "m.gguf", MIXTRAL), name="m")

    assert (shape.experts, shape.experts_used) == (8, 2)
    assert all(0 < block.expert_weights < block.weights for block in shape.blocks)


async def test_the_parts_of_a_split_model_are_read_together(tmp_path: Path) -> None:
    whole = await shape_here(write_llm(tmp_path / "m.gguf", LLAMA), name="m")
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in (1, 2):
        write_llm(parts / f"m-{number:05d}-of-00002.gguf", LLAMA)

    split = await shape_here(parts, name="m")

    assert split.weights == 2 * whole.weights


async def test_a_missing_part_of_a_split_model_is_named(tmp_path: Path) -> None:
    write_llm(tmp_path / "m-00001-of-00002.gguf", LLAMA)

    with pytest.raises(ModelMissingError, match="m-00002-of-00002"):
        await shape_here(tmp_path, name="m")


def a_safetensors(tensors: dict[str, tuple[int, ...]]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in tensors.items():
        size = 2
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
}


def write_sharded(folder: Path) -> None:
    """Write a safetensors model of two files, an index and a configuration."""
    shards = {
        "a.safetensors": {"model.embed_tokens.weight": (100, 64), "model.layers.0.mlp.up_proj.weight": (128, 64)},
        "b.safetensors": {"model.layers.1.mlp.up_proj.weight": (128, 64), "lm_head.weight": (100, 64)},
    }
    for file, tensors in shards.items():
        (folder / file).write_bytes(a_safetensors(tensors))
    index = {"weight_map": {name: file for file, tensors in shards.items() for name in tensors}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(CONFIG))


async def test_a_sharded_safetensors_folder_is_read_whole(tmp_path: Path) -> None:
    write_sharded(tmp_path)

    shape = await shape_here(tmp_path, name="m")
    parts = compute_parts(shape, Running(context=512))

    assert shape.weights == 2 * (2 * 100 * 64 + 2 * 128 * 64)
    assert shape.quantization == "BF16"
    assert parts.weights.value == shape.weights
    assert parts.cache is not None
    assert parts.cache.value == 2 * 512 * 2 * (2 * 16) * 2


HYBRID = {
    **CONFIG,
    "num_hidden_layers": 4,
    "head_dim": 32,
    "full_attention_interval": 4,
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_conv_kernel_dim": 4,
}
WINDOWED = {**CONFIG, "num_hidden_layers": 4, "model_type": "gemma2", "sliding_window": 256}
LATENT = {
    **CONFIG,
    "num_hidden_layers": 4,
    "kv_lora_rank": 48,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}
NEMOTRON = {
    **CONFIG,
    "num_hidden_layers": 4,
    "hybrid_override_pattern": "ME*-",
    "mamba_num_heads": 4,
    "mamba_head_dim": 8,
    "ssm_state_size": 16,
    "conv_kernel": 4,
}


@pytest.mark.parametrize(
    ("config", "cached", "state"),
    [
        (HYBRID, 2 * 2 * 32, 3 * (3 * (2 * 16 + 32) + 32 * 8)),
        (WINDOWED, 2 * 2 * 2 * 16, 0),
        (LATENT, 4 * (48 + 16), 0),
        (NEMOTRON, 2 * 2 * 16, 3 * (32 + 2 * 16) + 16 * 32),
    ],
    ids=["hybrid", "windows", "latent", "mamba"],
)
async def test_a_configuration_says_which_layers_keep_a_cache(
    config: dict[str, Any], cached: int, state: int, tmp_path: Path
) -> None:
    names = {f"model.layers.{layer}.mlp.up_proj.weight": (128, 64) for layer in range(4)}
    (tmp_path / "m.safetensors").write_bytes(a_safetensors({"model.embed_tokens.weight": (100, 64), **names}))
    (tmp_path / "config.json").write_text(json.dumps(config))

    shape = await shape_here(tmp_path / "m.safetensors", name="m")
    short, long = (compute_parts(shape, Running(context=context)).cache for context in (4096, 8192))

    assert short is not None
    assert long is not None
    assert long.value - short.value == 4096 * cached * 2
    assert sum(block.state_numbers for block in shape.blocks) == state


async def test_what_sees_images_is_no_layer_and_is_counted_for_itself(tmp_path: Path) -> None:
    tensors = {
        "model.embed_tokens.weight": (100, 64),
        "model.layers.0.mlp.up_proj.weight": (128, 64),
        "model.visual.blocks.0.attn.qkv.weight": (64, 64),
        "model.visual.merger.linear_fc1.weight": (64, 64),
        "lm_head.weight": (100, 64),
    }
    (tmp_path / "m.safetensors").write_bytes(a_safetensors(tensors))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))

    shape = await shape_here(tmp_path / "m.safetensors", name="m")

    assert shape.vision == 2 * 2 * 64 * 64
    assert [block.weights for block in shape.blocks] == [2 * 128 * 64]
    assert shape.output == 2 * 100 * 64


async def test_without_a_configuration_the_weights_are_known_and_the_cache_is_not(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    (tmp_path / "config.json").unlink()

    parts = compute_parts(await shape_here(tmp_path, name="m"), Running())

    assert parts.weights.value > 0
    assert parts.cache is None
    assert not parts.is_complete


async def test_a_configuration_with_absurd_numbers_leaves_the_cache_unknown(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"num_attention_heads": 10**400}))

    assert compute_parts(await shape_here(tmp_path, name="m"), Running()).cache is None


async def test_an_index_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../secret"}}))

    with pytest.raises(HeaderError, match="elsewhere"):
        await shape_here(tmp_path, name="m")


async def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"PK\x03\x04 whatever")

    with pytest.raises(UnknownFormatError):
        await shape_here(tmp_path / "m.bin", name="m")


async def test_a_folder_with_several_models_asks_which(tmp_path: Path) -> None:
    write_llm(tmp_path / "a.gguf", LLAMA)
    write_llm(tmp_path / "b.gguf", LLAMA)

    with pytest.raises(ModelMissingError, match=r"2 models: a\.gguf, b\.gguf"):
        await shape_here(tmp_path, name="m")


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(struct.pack("<4sIQQ", b"GGUF", 9, 0, 0), id="unknown version"),
        pytest.param(struct.pack("<4sIQQ", b"GGUF", 3, 2**60, 0), id="too many tensors"),
        pytest.param(struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**60), id="too many entries"),
        pytest.param(struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**50), id="endless key"),
        pytest.param(struct.pack("<4sIQQQ1sI", b"GGUF", 3, 0, 1, 1, b"k", 99), id="unknown type"),
        pytest.param(struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 9, 1), id="array of arrays"),
        pytest.param(struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 8, 2**62), id="endless vocabulary"),
        pytest.param(struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 4, 2**62), id="endless numbers"),
    ],
)
def test_a_header_that_claims_too_much_is_refused_before_anything_is_allocated(header: bytes) -> None:
    with pytest.raises(HeaderError):
        read_gguf(header + bytes(100), where="m")


@GENEROUS
@given(cuts=st.floats(0, 1))
def test_a_header_that_is_cut_anywhere_asks_for_more_bytes(cuts: float, small: bytes) -> None:
    end = len(small) - 300 * 32 * 2 * 2  # well before the weights
    length = int(cuts * min(end, 4000))

    with pytest.raises(MoreBytesNeeded) as wanted:
        read_gguf(small[:length], where="m")

    assert wanted.value.at_least > length


@GENEROUS
@given(flips=st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=8))
async def test_damaged_bytes_give_a_shape_or_a_clear_error(
    flips: list[tuple[int, int]], small: bytes, tmp_path: Path
) -> None:
    damaged = bytearray(small)
    for place, value in flips:
        damaged[place] = value
    path = tmp_path / "m.gguf"
    path.write_bytes(damaged)

    try:
        compute_parts(await shape_here(path, name="m"), Running())
    except CorralError as error:
        assert error.what  # noqa: PT017  any other error fails the test


@GENEROUS
@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_any_bytes_are_safetensors_or_a_clear_error(data: bytes, length: int) -> None:
    for start in (struct.pack("<Q", length), struct.pack("<Q", len(data))):
        with suppress(HeaderError, MoreBytesNeeded):
            read_safetensors(start + data, where="m")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries({"dtype": JSON, "shape": JSON, "data_offsets": JSON})


@GENEROUS
@given(header=st.dictionaries(st.text(max_size=5), ENTRY | JSON, max_size=3), config=JSON)
async def test_any_json_is_a_model_or_a_clear_error(header: dict[str, Any], config: Any, tmp_path: Path) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    (tmp_path / "config.json").write_text(json.dumps(config))

    try:
        compute_parts(await shape_here(tmp_path / "m.safetensors", name="m"), Running())
    except CorralError as error:
        assert error.what  # noqa: PT017


async def test_a_safetensors_file_without_tensors_is_told(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")

    with pytest.raises(HeaderError, match="no tensor"):
        await shape_here(path, name="empty")


async def test_a_pipe_is_no_model_and_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.gguf"
    os.mkfifo(path)

    with pytest.raises(ModelMissingError, match="not a regular file") as caught:
        await shape_here(path, name="pipe")

    assert caught.value.where == str(path)
