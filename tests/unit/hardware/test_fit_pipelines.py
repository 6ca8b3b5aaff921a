"""Image and video models as parts that take turns on the GPU."""

from __future__ import annotations

import pytest

from corral.hardware.fit.names import estimate_need, estimate_shape
from corral.hardware.fit.pipelines import find_pipeline, judge_pipeline, list_pipeline_names
from corral.hardware.fit.splitting import CandidateGpu
from corral.units import Bytes

GIB = 2**30


def a_card(gib: float | None) -> CandidateGpu:
    memory = None if gib is None else Bytes(round(gib * GIB))
    return CandidateGpu(name="gpu", model=None, memory=memory)


@pytest.mark.parametrize(
    ("name", "model", "precision"),
    [
        ("wan2.2-t2v-14b", "Wan2.2 14B", "FP8"),
        ("Wan-AI/Wan2.2-I2V-A14B-Diffusers", "Wan2.2 14B", "FP8"),
        ("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", "Wan2.2 14B", "FP8"),
        ("Wan2.2-T2V-A14B-HighNoise-Q4_K_M.gguf", "Wan2.2 14B", "Q4_K_M"),
        ("wan2.1_t2v_1.3B_fp16.safetensors", "Wan2.1 1.3B", "FP16"),
        ("wan2.2-ti2v-5b", "Wan2.2 5B", "FP16"),
        ("hunyuan-video", "HunyuanVideo", "BF16"),
        ("tencent/HunyuanVideo-1.5", "HunyuanVideo 1.5", "FP16"),
        ("Lightricks/LTX-Video", "LTX-Video 2B", "BF16"),
        ("ltx-2.3-22b-dev-fp8.safetensors", "LTX-2.3 22B", "FP8"),
        ("black-forest-labs/FLUX.1-dev", "FLUX.1", "BF16"),
        ("flux1-dev-fp8.safetensors", "FLUX.1", "FP8"),
        ("flux1-schnell-Q4_K_S.gguf", "FLUX.1", "Q4_K_S"),
        ("black-forest-labs/FLUX.2-dev", "FLUX.2 dev", "FP8"),
        ("black-forest-labs/FLUX.2-klein-4B", "FLUX.2 klein 4B", "BF16"),
        ("Qwen/Qwen-Image-Edit-2509", "Qwen-Image", "FP8"),
        ("Tongyi-MAI/Z-Image-Turbo", "Z-Image", "BF16"),
        ("stabilityai/stable-diffusion-3.5-large", "SD 3.5 Large", "FP8"),
        ("sd_xl_base_1.0.safetensors", "SDXL", "FP16"),
        ("HiDream-ai/HiDream-I1-Full", "HiDream-I1", "FP8"),
    ],
)
def test_a_name_or_a_file_finds_its_pipeline(name: str, model: str, precision: str) -> None:
    pipeline = find_pipeline(name)

    assert pipeline is not None
    assert (pipeline.id, pipeline.precision) == (model, precision)
    assert estimate_shape(name) is None


@pytest.mark.parametrize(
    "name", ["qwen3:30b-a3b", "Qwen/Qwen2.5-VL-7B-Instruct", "llama3:8b", "mochi-1-10b", "ltx-2-q4_0"]
)
def test_a_language_model_or_an_unknown_one_is_not_a_pipeline(name: str) -> None:
    assert find_pipeline(name) is None


def test_the_gpu_holds_the_largest_part_and_main_memory_all_of_them() -> None:
    pipeline = find_pipeline("wan2.2-t2v-14b")
    assert pipeline is not None

    assert pipeline.least_vram.value / 1e9 == pytest.approx(14.3 + 0.48, rel=0.01)
    assert pipeline.main_memory.value / 1e9 == pytest.approx(2 * 14.3 + 6.7 + 0.25, rel=0.01)


@pytest.mark.parametrize(("gib", "fits"), [(12, False), (16, None), (24, True), (None, None)])
def test_a_pipeline_fits_where_it_was_run_and_not_where_its_largest_part_has_no_room(
    gib: float | None, fits: bool | None
) -> None:
    pipeline = find_pipeline("wan2.2-t2v-14b")
    assert pipeline is not None

    verdict = judge_pipeline(pipeline, a_card(gib))

    assert verdict.fits is fits
    assert verdict.reason


def test_a_text_encoder_that_has_no_room_makes_no_gpu_too_small() -> None:
    pipeline = find_pipeline("ltx-video-2b")
    assert pipeline is not None
    encoder = pipeline.parts[0].size.value
    assert encoder > 8 * 2**30
    assert pipeline.least_vram.value < encoder
    assert judge_pipeline(pipeline, a_card(8)).fits is not False


def test_a_smaller_precision_makes_the_transformer_smaller_and_nothing_else() -> None:
    whole, smaller = find_pipeline("flux.1-dev"), find_pipeline("flux.1-dev-Q4_K_S.gguf")
    assert whole is not None
    assert smaller is not None
    by_name = {part.name: part.size.value for part in smaller.parts}

    for part in whole.parts:
        if part.name == "transformer":
            assert by_name[part.name] < part.size.value / 3
        else:
            assert by_name[part.name] == part.size.value


def test_a_plan_counts_what_a_run_in_turns_took_and_else_the_largest_part() -> None:
    reported, counted = estimate_need("comfyui", "wan2.2-t2v-14b"), estimate_need("comfyui", "flux.1-dev")

    assert reported is not None
    assert counted is not None
    assert reported.divide(1) == 24 * 10**9
    assert counted.divide(1) / 1e9 == pytest.approx(23.8 + 0.48, rel=0.01)
    assert not counted.splits


def test_each_pipeline_has_the_sizes_of_its_files_with_their_source() -> None:
    for name in list_pipeline_names():
        pipeline = find_pipeline(name)
        assert pipeline is not None, name
        assert pipeline.id == name
        assert all(part.size.value > 0 and part.size.source for part in pipeline.parts)
        assert all(run.source and run.run for run in pipeline.measured)
