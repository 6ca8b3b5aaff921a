"""Where a model fits, how fast it can be, and what the rule of thumb for splits says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType
from hypothesis import given
from hypothesis import strategies as st

from corral.figures import Origin
from corral.hardware.fit.judging import judge
from corral.hardware.fit.memory import Running, compute_parts, count_block_cache_bytes, count_cache_bytes
from corral.hardware.fit.names import estimate_need, estimate_shape
from corral.hardware.fit.nearest_shape import find_similar_shape
from corral.hardware.fit.profiles import PROFILES, find_profile
from corral.hardware.fit.quantizations import BITS, BLOCKS, UnknownTypeError, count_bytes
from corral.hardware.fit.shape import Attention, Block, ModelShape
from corral.hardware.fit.splitting import (
    CandidateGpu,
    Way,
    compute_bus_bandwidth,
    count_active_bytes,
    count_layer_split_bytes,
    count_tensor_split_bytes,
    move_experts,
    place_on_one,
    spill,
    split_over,
)
from corral.units import Bytes

GIB = 2**30
RUNNING = Running()
ATTENTION = Attention(heads=32, kv_heads=8, key_length=128, value_length=128)


def a_card(
    gib: float, name: str = "gpu", bandwidth: float | None = 896.0, bus: str | None = "PCIe 5.0 x16"
) -> CandidateGpu:
    return CandidateGpu(name=name, model="RTX 5070 Ti", memory=Bytes(int(gib * GIB)), bandwidth_gb_s=bandwidth, bus=bus)


def a_shape(name: str = "33b@q4_k_m") -> ModelShape:
    shape = estimate_shape(name)
    assert shape is not None
    return shape


def test_block_sizes_are_those_of_the_gguf_package() -> None:
    assert dict(BLOCKS) == {kind.name: sizes for kind, sizes in GGML_QUANT_SIZES.items()}


def test_a_block_that_is_begun_counts_whole() -> None:
    assert count_bytes("q4_0", 33) == 36


def test_an_unknown_type_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UnknownTypeError, match="q3") as unknown:
        count_bytes("q3", 32)

    assert "q8_0" in (unknown.value.hint or "")


def test_types_and_file_types_of_headers_are_those_of_the_gguf_package() -> None:
    from corral.weights.headers.gguf import _TYPE_NAMES
    from corral.weights.headers.gguf_shape import _FILE_TYPES

    assert dict(_TYPE_NAMES) == {kind.value: kind.name for kind in GGMLQuantizationType}
    names = {kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in LlamaFileType}
    assert {number: names.get(number) for number in _FILE_TYPES} == dict(_FILE_TYPES)


def test_the_cache_of_llama_3_8b_is_half_a_gibibyte_for_4096_tokens() -> None:
    assert count_cache_bytes(a_shape("llama3:8b"), RUNNING) == GIB // 2


def test_a_quantized_cache_takes_34_bytes_for_32_numbers() -> None:
    shape = a_shape("llama3:8b")

    assert count_cache_bytes(shape, replace(RUNNING, cache_type_k="q8_0", cache_type_v="q8_0")) == GIB // 2 * 34 // 64


def test_parallel_sequences_each_have_a_cache_of_whole_steps() -> None:
    shape = a_shape("llama3:8b")

    assert count_cache_bytes(shape, Running(context=1000, parallel=4)) == count_cache_bytes(
        shape, Running(context=4096)
    )


def test_a_window_bounds_the_cache_however_long_the_context_is() -> None:
    block = Block(weights=Bytes(1), attention=replace(ATTENTION, window=1024))

    short, long = (count_block_cache_bytes(block, Running(context=tokens)) for tokens in (32_768, 131_072))

    assert short == long == 1536 * 2 * 8 * 128 * 2


def test_a_33b_model_takes_between_10_and_11_gib_on_each_of_two_cards_and_leaves_room_for_40_000_tokens() -> None:
    running = Running()
    shape = find_similar_shape(
        "claim", parameters=33 * 10**9, bits=BITS["Q4_K_M"], quantization="Q4_K_M", source="the usual rule of thumb"
    )
    parts = compute_parts(shape, running)
    cache = count_cache_bytes(shape, running)
    assert cache is not None

    per_gpu = parts.divisible / 2 + parts.floor
    spare = 16 * GIB - per_gpu

    assert 10 * GIB < per_gpu < 11 * GIB
    assert spare > 5 * GIB
    assert running.context + spare * 2 / (cache / running.context) > 40_000


def test_33b_fits_two_cards_of_16_gib_and_not_one() -> None:
    shape, cards = a_shape(), (a_card(16, "a"), a_card(16, "b"))
    fit = judge(shape, RUNNING, cards, (cards,))

    first, other, split, *spills = fit.verdicts
    assert (first.fits, other.fits, split.fits) == (False, False, True)
    assert "a: needs" in first.reason
    assert split.layers_on_gpu == split.layers == 65
    assert [spill.way for spill in spills] == [Way.SPILLED] * 2
    assert fit.fits


def test_a_split_shares_out_weights_and_cache_and_repeats_the_floor_on_each_card() -> None:
    shape = a_shape()
    parts = compute_parts(shape, RUNNING)
    verdict = split_over(shape, RUNNING, parts, (a_card(16, "a"), a_card(16, "b"), a_card(16, "c")))

    assert sum(verdict.needs) == parts.divisible + 3 * parts.floor


def test_what_sees_images_is_on_the_first_card_and_is_not_read_for_text() -> None:
    shape, blind = a_shape("gemma3:27b"), replace(a_shape("gemma3:27b"), vision=Bytes(0))
    cards = (a_card(16, "a"), a_card(16, "b"))
    seeing, unseeing = (split_over(which, RUNNING, compute_parts(which, RUNNING), cards) for which in (shape, blind))

    assert shape.vision > 800 * 2**20
    assert seeing.needs == (unseeing.needs[0] + shape.vision, unseeing.needs[1])
    assert seeing.speed == unseeing.speed


@given(st.floats(4, 20))
def test_experts_of_one_layer_less_in_main_memory_would_not_fit(gib: float) -> None:
    shape, card = a_shape("qwen3:30b-a3b"), a_card(gib)
    parts = compute_parts(shape, RUNNING)
    fewest = move_experts(shape, RUNNING, parts, card)

    if fewest.fits and fewest.experts_on_processor:
        less = move_experts(shape, RUNNING, parts, card, layers=fewest.experts_on_processor - 1)
        assert not less.fits
        assert fewest.main_memory is not None
        assert sum(fewest.needs) + fewest.main_memory == parts.on_one_gpu


def test_experts_in_main_memory_are_faster_than_whole_layers_there() -> None:
    shape, card = a_shape("qwen3:30b-a3b"), a_card(8)
    parts = compute_parts(shape, RUNNING)
    experts, layers = (place(shape, RUNNING, parts, card, processor_gb_s=60).speed for place in (move_experts, spill))

    assert experts is not None
    assert layers is not None
    assert experts.value > layers.value


def test_a_model_without_experts_moves_none() -> None:
    fit = judge(a_shape("llama3.3:70b"), RUNNING, (a_card(16),))

    assert Way.EXPERTS not in {verdict.way for verdict in fit.verdicts}


def test_unequal_cards_get_layers_in_proportion_to_their_memory() -> None:
    shape = a_shape()
    verdict = split_over(shape, RUNNING, compute_parts(shape, RUNNING), (a_card(24, "a"), a_card(12, "b")))

    floor = compute_parts(shape, RUNNING).floor
    assert (verdict.needs[0] - floor) / (verdict.needs[1] - floor) == pytest.approx(2, rel=0.1)


def test_a_card_whose_memory_is_unknown_is_refused_with_that_reason() -> None:
    shape = a_shape("llama3:8b")
    verdict = place_on_one(shape, RUNNING, compute_parts(shape, RUNNING), replace(a_card(16), memory=None))

    assert not verdict.fits
    assert "unknown" in verdict.reason


@given(st.floats(1, 64), st.integers(256, 65_536))
def test_what_fits_never_exceeds_its_card(gib: float, context: int) -> None:
    shape, card, running = a_shape("llama3:8b"), a_card(gib), Running(context=context)
    parts = compute_parts(shape, running)

    for verdict in (
        place_on_one(shape, running, parts, card),
        split_over(shape, running, parts, (card, card)),
        spill(shape, running, parts, card),
    ):
        assert not verdict.fits or all(need <= gib * GIB for need in verdict.needs)


@given(st.floats(2, 20))
def test_one_layer_more_than_what_spills_would_not_fit(gib: float) -> None:
    shape, card = a_shape(), a_card(gib)
    parts = compute_parts(shape, RUNNING)
    most = spill(shape, RUNNING, parts, card)

    more = spill(shape, RUNNING, parts, card, layers_on_gpu=most.layers_on_gpu + 1)

    assert most.layers_on_gpu < most.layers
    assert not more.fits


def test_the_speed_of_spilled_layers_is_unknown_until_the_memory_bandwidth_is_given() -> None:
    shape, card = a_shape(), a_card(16)
    parts = compute_parts(shape, RUNNING)

    assert spill(shape, RUNNING, parts, card).speed is None
    speed = spill(shape, RUNNING, parts, card, processor_gb_s=60).speed
    assert speed is not None
    assert speed.value < 20


def test_tokens_per_second_are_bounded_by_bandwidth_over_bytes_read() -> None:
    shape = a_shape("llama3:8b")
    parts = compute_parts(shape, RUNNING)
    speed = place_on_one(shape, RUNNING, parts, a_card(16)).speed

    full = place_on_one(shape, RUNNING, parts, a_card(16)).speed_when_full

    assert speed is not None
    assert full is not None
    assert speed.value == pytest.approx(896e9 / parts.weights.value, rel=1e-6)
    assert full.value == pytest.approx(896e9 / parts.divisible, rel=1e-6)


def test_a_split_reads_its_parts_one_after_the_other_and_is_no_faster() -> None:
    shape = a_shape("llama3:8b")
    parts = compute_parts(shape, RUNNING)
    single = place_on_one(shape, RUNNING, parts, a_card(16)).speed
    split = split_over(shape, RUNNING, parts, (a_card(16), a_card(16))).speed

    assert single is not None
    assert split is not None
    assert split.value == pytest.approx(single.value, rel=1e-6)


def test_experts_that_are_not_used_are_not_read() -> None:
    block = Block(weights=Bytes(100), expert_weights=Bytes(80), attention=ATTENTION)
    shape = replace(a_shape(), experts=8, experts_used=2)

    assert count_active_bytes(block, shape) == 100 - 60


@pytest.mark.parametrize(
    ("bus", "bandwidth"),
    [("PCIe 5.0 x16", 63.0), ("PCIe 4.0 x16", 31.5), ("PCIe 3.0 x4", 3.94), ("PCIe 2.0 x16", 8.0), ("AGP 8x", None)],
)
def test_the_bus_is_as_fast_as_its_generation_and_lanes_say(bus: str, bandwidth: float | None) -> None:
    assert compute_bus_bandwidth(bus) == (None if bandwidth is None else pytest.approx(bandwidth, rel=0.01))


def test_a_layer_split_moves_one_vector_and_a_tensor_split_two_for_each_layer() -> None:
    shape = a_shape("llama3:8b")

    assert count_layer_split_bytes(shape, 2) == 4096 * 4
    assert count_tensor_split_bytes(shape, 2) == 2 * 32 * 4096 * 4


def test_smaller_quantizations_fit_where_larger_ones_do_not() -> None:
    fit = judge(a_shape(), RUNNING, (a_card(16),))

    sizes = [quantization.size.value for quantization in fit.quantizations]
    assert sizes == sorted(sizes)
    fitting = [bool(quantization.fits) for quantization in fit.quantizations]
    assert fitting == sorted(fitting, reverse=True)
    assert {True, False} == set(fitting)


@pytest.mark.parametrize("model", ["qwen3:30b-a3b", "gemma3:27b", "yi:34b", "llama3.1:8b@q5_k_m", "33b@q6_k"])
def test_a_model_takes_as_much_as_it_is_listed_with_in_its_own_quantization(model: str) -> None:
    fit = judge(a_shape(model), RUNNING, (a_card(48),))

    [own] = [listed for listed in fit.quantizations if listed.name == fit.shape.quantization]
    assert own.size.value == fit.parts.on_one_gpu


@pytest.mark.parametrize("model", ["qwen3:14b", "gemma3:12b", "command-r:35b", "qwen3-coder:30b"])
def test_a_quantization_is_listed_with_what_a_model_named_with_it_takes(model: str) -> None:
    listed = {quantized.name: quantized.size.value for quantized in judge(a_shape(model), RUNNING, ()).quantizations}

    for name in ("Q2_K", "Q5_K_M", "Q6_K", "Q8_0"):
        assert listed[name] == pytest.approx(judge(a_shape(f"{model}@{name}"), RUNNING, ()).parts.on_one_gpu, rel=1e-3)


def test_experts_published_in_four_bits_stay_so() -> None:
    fit = judge(a_shape("gpt-oss:20b"), RUNNING, (a_card(16),))

    assert [(listed.name, listed.size.value) for listed in fit.quantizations] == [("MXFP4", fit.parts.on_one_gpu)]


def test_an_answer_is_the_same_each_time() -> None:
    cards = (a_card(16, "a"), a_card(16, "b"))

    assert judge(a_shape(), RUNNING, cards, (cards,)) == judge(a_shape(), RUNNING, cards, (cards,))


def test_every_profile_says_its_source_and_no_two_share_a_name() -> None:
    names = [name for profile in PROFILES for name in (profile.name, *profile.aliases)]

    assert all(profile.memory.source and profile.memory.origin is Origin.DECLARED for profile in PROFILES)
    assert len(names) == len(set(names))
    assert all(find_profile(name) for name in names)


def test_a_speech_model_needs_what_its_profile_declares_and_does_not_split() -> None:
    need = estimate_need("whisper", "large-v3")

    assert need is not None
    assert need.divide(1) == 4521 * 2**20
    assert not need.splits
    assert need.divisible.origin is Origin.DECLARED


def test_a_model_that_needs_what_the_driver_keeps_does_not_fit() -> None:
    shape = a_shape("llama3:8b")
    parts = compute_parts(shape, RUNNING)
    need = parts.on_one_gpu / GIB

    assert place_on_one(shape, RUNNING, parts, a_card(need + 0.51)).fits
    assert not place_on_one(shape, RUNNING, parts, a_card(need + 0.49)).fits


def test_no_layer_on_the_gpu_is_no_lack_of_memory() -> None:
    shape = a_shape()

    none = spill(shape, RUNNING, compute_parts(shape, RUNNING), a_card(16), layers_on_gpu=0)

    assert none.reason == "gpu: no layer on it, the processor computes all"
