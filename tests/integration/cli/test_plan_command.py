"""`corral plan` over real cluster files, typed as people type it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from doubles.clusters import forty_mixed_nodes

EXAMPLES = Path(__file__).parents[3] / "examples"
NO_CAPACITY = 5
MISSING = 3
TOO_SMALL = """
apiVersion: corral/v1
name: small
nodes: [{name: one, gpus: [{model: RTX 4090}]}, {name: two, gpus: []}]
services:
  - {name: large, gpus: 1, gpuMemory: 40Gi}
  - {name: twice, gpus: 1, gpuMemory: 8Gi, replicas: 2}
"""


@pytest.fixture(params=["hydra/before.yaml", "hydra/cluster.yaml", "harvis/cluster.yaml", "forty"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "forty":
        written = tmp_path / "forty.yaml"
        written.write_text(forty_mixed_nodes())
        return written
    return EXAMPLES / request.param


def read_output(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert run_command([str(argument) for argument in arguments]) == code
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:  # JSON
    return json.loads(read_output(capsys, *arguments, "--json"))


def test_every_gpu_of_the_file_has_its_line_and_its_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = as_json(capsys, "plan", file)
    text = read_output(capsys, "plan", file, "-v")

    for plan in answer["plans"]:
        assert f"layout {plan['layout']}" in text
        assert {(gpu["node"], gpu["index"]) for gpu in plan["gpus"]}
    assert text.count(" gpu0 ") == sum(gpu["index"] == 0 for plan in answer["plans"] for gpu in plan["gpus"])


def test_the_same_file_has_the_same_plan_byte_for_byte(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_output(capsys, "plan", file, "--json") == read_output(capsys, "plan", file, "--json")


def test_every_number_of_a_plan_says_where_it_is_from(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = as_json(capsys, "plan", file)

    figures = [replica["memory"] for plan in answer["plans"] for replica in plan["placed"] if replica["memory"]]
    figures += [power[key] for power in answer["power"] for key in ("gpus", "system")]
    assert all(figure["origin"] and figure["source"] for figure in figures)


def test_harvis_has_one_service_on_each_gpu_or_both_on_one(capsys: pytest.CaptureFixture[str]) -> None:
    answer = as_json(capsys, "plan", EXAMPLES / "harvis/cluster.yaml")

    tenants = {plan["layout"]: {gpu["node"]: gpu["tenants"] for gpu in plan["gpus"]} for plan in answer["plans"]}
    assert tenants == {
        "edge": {"pop-os": ["merged-ollama-backend"], "pop-os-343570d8": []},
        "workstation": {"pop-os": ["ollama"], "pop-os-343570d8": ["backend"]},
    }


def test_a_model_that_is_larger_than_its_card_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    answer = as_json(capsys, "plan", EXAMPLES / "harvis/cluster.yaml", "--layout", "workstation")

    (large,) = [warning for warning in answer["plans"][0]["warnings"] if warning["pitfall"] == "B08"]
    assert large["where"] == "ollama: deepseek-r1:70b"
    assert "23.5 GiB are usable on pop-os/gpu0 (RTX 4090)" in large["what"]


def test_hydra_s_pool_gives_comfyui_both_gpus_and_the_others_take_turns(capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = as_json(capsys, "plan", EXAMPLES / "hydra/cluster.yaml")["plans"]

    pool = [gpu["tenants"] for gpu in plan["gpus"] if gpu["node"] == "hydra-compute"]
    assert pool == [["comfyui #1"], ["comfyui #2"]]
    waiting = {unplaced["name"]: (unplaced["takes_turns"], unplaced["turns_with"]) for unplaced in plan["unplaced"]}
    names = ("gpt-sovits", "ollama-small", "lora-training")
    assert waiting == {name: (True, ["comfyui #1", "comfyui #2"]) for name in names}


def test_hydra_before_its_upgrade_cannot_train_on_the_small_card(capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = as_json(capsys, "plan", EXAMPLES / "hydra/before.yaml")["plans"]

    (training,) = [unplaced for unplaced in plan["unplaced"] if unplaced["name"] == "lora-training"]
    assert training["turns"] == ["hydra-compute/gpu0"]
    reasons = {refusal["place"]: refusal["reason"] for refusal in training["refusals"]}
    assert reasons["hydra-compute/gpu1"] == "needs 14.0 GiB, 11.5 GiB usable"


def test_mixed_models_in_a_node_are_told_with_their_pitfall(capsys: pytest.CaptureFixture[str]) -> None:
    def mixed(name: str) -> list[str]:
        (plan,) = as_json(capsys, "plan", EXAMPLES / name)["plans"]
        return [warning["where"] for warning in plan["warnings"] if warning["pitfall"] == "A11"]

    assert mixed("hydra/before.yaml") == ["hydra-ai", "hydra-compute"]
    assert mixed("hydra/cluster.yaml") == ["hydra-ai"]


def test_what_has_no_place_ends_with_its_code_and_the_reason_on_every_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(TOO_SMALL)

    assert run_command(["plan", str(file), "--json"]) == NO_CAPACITY

    captured = capsys.readouterr()
    (plan,) = json.loads(captured.out)["plans"]
    assert plan["layout"] is None
    assert [replica["name"] for replica in plan["placed"]] == ["twice"]
    problems = json.loads(captured.err)["error"]["problems"]
    assert [problem["code"] for problem in problems] == ["plan.no_placement"] * 2
    assert "one/gpu0: needs 40.0 GiB, 23.5 GiB usable; two: has no GPU" in problems[0]["what"]
    assert "one/gpu0: held by twice #1" in problems[1]["what"]


def test_the_text_says_it_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(TOO_SMALL)

    text = read_output(capsys, "plan", file, code=NO_CAPACITY)

    assert "no place\n  large\n    one/gpu0: needs 40.0 GiB, 23.5 GiB usable" in text
    assert text.startswith("services, without a layout: 1 of 3 replicas have their place, and no plan places more")


def test_the_answer_comes_first_and_the_proofs_when_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    file = EXAMPLES / "hydra/cluster.yaml"

    assert read_output(capsys, "plan", file).splitlines()[0] == (
        "layout pool: all 11 replicas have their place; 3 on demand take turns; 2 warnings"
    )
    assert "on demand: 0 of 3 placed; no plan places more" in read_output(capsys, "plan", file, "-v")


def test_a_layout_that_there_is_not_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plan", str(EXAMPLES / "harvis/cluster.yaml"), "--layout", "workstaton"]) == MISSING

    error = capsys.readouterr().err
    assert "error[plan.unknown_layout]: there is no layout 'workstaton'" in error
    assert "did you mean `workstation`?" in error


def test_declared_facts_that_the_catalogue_speaks_against_are_warnings_with_their_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(
        "apiVersion: corral/v1\nname: odd\nnodes:\n"
        "  - {name: one, gpus: [{model: RTX 4090, memory: 8Gi, powerLimit: 90000}], psu: {watts: 5}}\n"
    )

    warnings = as_json(capsys, "plan", file)["plans"][0]["warnings"]

    assert [warning["where"] for warning in warnings] == ["one/gpu0 memory", "one/gpu0 powerLimit", "one psu.watts"]


def _warnings(capsys: pytest.CaptureFixture[str], folder: Path, service: str) -> list[dict[str, str]]:
    file = folder / "cluster.yaml"
    node = "{name: a, memory: 32Gi, gpus: [{model: RTX 3090}]}"
    file.write_text(f"apiVersion: corral/v1\nname: home\nnodes:\n  - {node}\nservices:\n  - {service}\n")
    return as_json(capsys, "plan", file)["plans"][0]["warnings"]


def test_a_mixture_of_experts_that_fits_with_its_context_is_not_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = (
        '{name: ollama, engines: [ollama], image: "ollama/ollama:0.12.6", port: 11434, gpus: 1,'
        ' models: ["qwen3:30b-a3b"], env: {OLLAMA_CONTEXT_LENGTH: "40960"}}'
    )

    assert "B08" not in {warning["pitfall"] for warning in _warnings(capsys, tmp_path, service)}


def test_parts_of_a_video_model_that_have_no_room_in_main_memory_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = '{name: video, engines: [comfyui], image: "x/comfyui:1", port: 8188, gpus: 1, models: ["wan2.2-t2v-14b"]}'

    warnings = {warning["where"]: warning["what"] for warning in _warnings(capsys, tmp_path, service)}

    assert "33.1 GiB of main memory" in warnings["video: wan2.2-t2v-14b"]


def test_a_vllm_that_would_end_at_its_start_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = '["--model", "meta-llama/Llama-3.1-8B-Instruct"]'
    service = f'{{name: chat, image: "vllm/vllm-openai:v0.11.0", port: 8000, gpus: 1, command: {command}}}'

    warnings = {warning["pitfall"]: warning["what"] for warning in _warnings(capsys, tmp_path, service)}

    assert "16.0 GiB of cache for 131,072 tokens" in warnings["B16"]
