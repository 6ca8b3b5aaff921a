"""`corral fit` over files, names and cluster files, typed as people type it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from doubles.clusters import forty_mixed_nodes
from doubles.tiny_llms import GEMMA2, LLAMA, write_llm

EXAMPLES = Path(__file__).parents[3] / "examples"
INVALID, MISSING, NO_CAPACITY = 2, 3, 5


@pytest.fixture(autouse=True)
def _data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORRAL_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture(params=["hydra/before.yaml", "hydra/cluster.yaml", "harvis/cluster.yaml", "forty"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "forty":
        written = tmp_path / "forty.yaml"
        written.write_text(forty_mixed_nodes())
        return written
    return EXAMPLES / request.param


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_every_gpu_of_a_cluster_file_has_a_verdict_with_its_reason(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["fit", "llama3:8b", "--cluster", str(file), "--json"]) == 0

    verdicts = answer(capsys)["verdicts"]
    assert any(verdict["fits"] for verdict in verdicts)
    assert all(verdict["reason"] for verdict in verdicts)


def test_people_get_tables_for_every_cluster_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "llama3:8b", "--cluster", str(file), "-v"]) == 0

    assert "compute buffer, each GPU" in capsys.readouterr().out


def test_the_answer_names_the_best_quality_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "33b@q4_k_m", "--gpu", "RTX 5070 Ti"]) == NO_CAPACITY

    answer, best, *_ = capsys.readouterr().out.splitlines()
    assert answer.startswith("33b@q4_k_m at Q4_K_M does not fit: 20.0 GiB on one GPU, and the largest has 15.5 GiB")
    assert best == "best quality that fits: IQ3_S, 15.4 GiB on one GPU, on RTX 5070 Ti"


def test_quantizations_are_listed_when_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "llama3:8b", "--gpu", "RTX 5070 Ti"]) == 0
    assert "Q6_K" not in capsys.readouterr().out

    assert run_command(["fit", "llama3:8b", "--gpu", "RTX 5070 Ti", "-v"]) == 0
    assert "Q6_K" in capsys.readouterr().out


def test_deepseek_r1_70b_fits_no_card_of_harvis(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(EXAMPLES / "harvis/cluster.yaml")

    assert run_command(["fit", "deepseek-r1:70b", "--cluster", file]) == NO_CAPACITY

    printed = capsys.readouterr()
    assert "23.5 GiB usable" in printed.out
    assert "error[fit.no_room]" in printed.err


def test_layers_that_spill_are_enough_when_they_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "fit",
        "deepseek-r1:70b",
        "--gpu",
        "RTX 4090",
        "--layers-on-gpu",
        "40",
        "--cpu-bandwidth",
        "60",
        "--json",
    ]

    assert run_command(command) == 0

    spilled = answer(capsys)["verdicts"][-1]
    assert (spilled["layers_on_gpu"], spilled["layers"]) == (40, 81)
    assert spilled["speed"]["value"] < 10


def test_33b_at_4_bits_takes_10_gib_on_each_of_two_cards(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "33b@q4_k_m", "--gpu", "RTX 5070 Ti", "--gpu", "RTX 5070 Ti", "--json"]

    assert run_command(command) == 0

    report = answer(capsys)
    split = next(verdict for verdict in report["verdicts"] if verdict["way"] == "split")
    assert all(10 <= need / 2**30 < 10.6 for need in split["needs"])
    assert report["bus"][0]["bus"] == "PCIe 5.0 x16"


@pytest.mark.parametrize(
    ("model", "gpu", "options", "gib"),
    [
        ("qwen3:30b-a3b", "RTX 3090", ["--ctx", "40960"], 21.4),
        ("qwen3.8:27b@IQ4_XS", "RTX 3090", ["--ctx", "215000", "--cache-type", "q8_0"], 23_264 / 1024),
        ("qwen3:30b-a3b-bf16", "A100 PCIe 80 GB", [], 57.2),
    ],
)
def test_mixtures_and_hybrids_fit_where_people_run_them(
    model: str, gpu: str, options: list[str], gib: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["fit", model, "--gpu", gpu, *options, "--json"]) == 0

    assert answer(capsys)["on_one_gpu"] / 2**30 == pytest.approx(gib, rel=0.05)


@pytest.mark.parametrize(
    ("model", "gpu", "options", "measured"),
    [
        ("qwen3:30b-a3b-bf16", "A100 PCIe 80 GB", [], 103.9),
        ("qwen3:30b-a3b", "RTX 2080", ["--n-cpu-moe", "36", "--cpu-bandwidth", "102"], 36.7),
        ("qwen3:4b", "RTX 2080", [], 110.6),
        ("llama3.1:8b", "RTX 2080", [], 71.9),
        ("qwen3:8b", "RTX 2080", [], 69.3),
    ],
)
def test_at_most_is_no_less_than_what_people_measure(
    model: str, gpu: str, options: list[str], measured: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rates are those of tenstorrent/tt-inference-server issue 340 and AlexsJones/llmfit pulls 755 and 773."""
    assert run_command(["fit", model, "--gpu", gpu, *options, "--json"]) == 0

    speeds = [verdict["speed"]["value"] for verdict in answer(capsys)["verdicts"] if verdict["fits"]]
    assert speeds
    assert min(speeds) > measured


def test_both_speeds_are_printed_that_of_a_full_context_next_to_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "qwen3:30b-a3b", "--ctx", "40960", "--gpu", "RTX 3090"]) == 0

    assert "at most 495 tokens/s, 158 with a full context" in capsys.readouterr().out


def test_a_hybrid_model_in_a_long_context_is_split_over_two_cards(capsys: pytest.CaptureFixture[str]) -> None:
    card = ["--gpu", "RTX 5070 Ti"]

    assert run_command(["fit", "qwen3.8:27b@Q5_K_M", "--ctx", "190000", "--cache-type", "q8_0", *card, *card]) == 0


def test_a_repository_is_16_bits_with_all_of_it_on_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("meta-llama/Meta-Llama-3-8B-Instruct", "8b@f16"):
        assert run_command(["fit", model, "--gpu", "RTX 4060 Ti 16GB"]) == NO_CAPACITY
        assert "does not fit: 16.0 GiB" in capsys.readouterr().out
    for model in ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8"):
        assert run_command(["fit", model, "--gpu", "RTX 4060 Ti 16GB"]) == 0


def test_a_repository_says_the_share_of_the_card_that_vllm_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "Qwen/Qwen3-8B", "--gpu", "RTX 3090"]) == 0

    assert "0.69 of RTX 3090 or more" in capsys.readouterr().out


def test_a_file_is_read_and_its_origin_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_llm(tmp_path / "tiny.bin", GEMMA2)

    assert run_command(["fit", str(path), "--ctx", "8192", "--json"]) == 0

    report = answer(capsys)
    assert report["model"]["origin"] == "model file"
    assert report["parts"]["cache"]["source"].endswith("windows of 512 tokens")


def test_a_file_without_a_cluster_or_gpu_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_llm(tmp_path / "tiny.bin", LLAMA)

    assert run_command(["fit", str(path), "--cache-type", "q4_0", "--parallel", "3", "-v"]) == 0

    assert "Q4_K_M" in capsys.readouterr().out


def test_a_speech_model_is_judged_by_its_declared_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "large-v3-turbo", "--gpu", "RTX 3090 Ti", "--json"]) == 0

    report = answer(capsys)
    assert report["memory"]["origin"] == "declared"
    assert report["fits"] is True


def test_an_image_model_larger_than_its_card_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "flux.1-dev", "--gpu", "RTX 4080"]) == NO_CAPACITY

    assert "fit.no_room" in capsys.readouterr().err


def test_a_video_model_is_its_parts_with_what_main_memory_has_to_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "wan2.2-t2v-14b", "--gpu", "RTX 4080"]) == 0

    printed = capsys.readouterr().out
    assert "tokens/s" not in printed
    assert "main memory is short below 33.1 GiB" in printed
    assert "24 GB reported: 512 x 512, 81 frames, FP8, without block swap" in printed


def test_programs_get_the_parts_of_a_video_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "wan2.2-t2v-14b", "--gpu", "RTX 4080", "--json"]) == 0

    report = answer(capsys)
    assert [part["name"] for part in report["parts"]] == [
        "text encoder",
        "transformer 1 of 2",
        "transformer 2 of 2",
        "VAE",
    ]
    assert report["main_memory"]["value"] == sum(part["size"]["value"] for part in report["parts"])
    assert report["fits"] is None


def test_of_a_model_without_a_profile_the_size_of_its_files_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "piper-en-us-joe", "--gpu", "RTX 4090", "--json"]) == 0

    report = answer(capsys)
    assert report["memory"]["value"] > 63_000_000
    assert "least" in report["memory"]["source"]


def test_all_unclear_gpus_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "llama3", "--gpu", "RTX 3060", "--gpu", "RTX 5071"]) == INVALID

    errors = capsys.readouterr().err
    assert "fit.ambiguous_gpu" in errors
    assert "fit.unknown_gpu" in errors


def test_a_gpu_without_memory_of_its_own_is_asked_for_the_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "qwen3:8b", "--gpu", "Strix Halo", "--gpu", "M4 Max"]) == INVALID

    errors = capsys.readouterr().err
    assert errors.count("fit.memory_unknown") == 2
    assert "`M4 Max 64GB`" in errors
    assert run_command(["fit", "qwen3:8b", "--gpu", "M4 Max 64GB"]) == 0


def test_of_a_cluster_whose_memory_is_unknown_the_answer_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("apiVersion: corral/v1\nname: home\nnodes: [{name: box, gpus: [{model: Radeon 8060S}]}]\n")

    run_command(["fit", "qwen3:8b", "--cluster", str(file)])

    printed = capsys.readouterr()
    assert "0 B" not in printed.out + printed.err
    assert "unknown" in printed.out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["fit", "nonsense"], MISSING, "fit.nothing_known"),
        (["fit", "large-v5"], MISSING, "did you mean"),
        (["fit", "llama3", "--cache-type", "q3"], INVALID, "fit.unknown_type"),
        (["fit", "./missing.gguf"], MISSING, "models.missing"),
        (["fit", "hf:owner/repo"], INVALID, "models.name_unknown"),
        (["fit", "llama3", "--ctx", "0"], INVALID, "cli.usage"),
        (["fit", "llama3", "--cluster", "missing.yaml"], MISSING, "cluster.unreadable"),
    ],
)
def test_wrong_input_is_told_with_its_code(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == code

    assert text in capsys.readouterr().err
