"""`corral power` and `corral gpus` over real cluster files, typed as people type them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from corral.hardware.power import Verdict
from corral.operations.cluster_file import read_cluster_file
from corral.operations.powering import NoDriverError, NoSuchNodeError, PowerAsked, work_out_power
from corral.telemetry.nvml import FoundGpu, NvmlReading, NvmlStatus
from doubles.clusters import forty_mixed_nodes
from doubles.installed import CORRAL

EXAMPLES = Path(__file__).parents[3] / "examples"
EXAMPLE_FILES = [EXAMPLES / name for name in ("hydra/before.yaml", "hydra/cluster.yaml", "harvis/cluster.yaml")]


@pytest.fixture(params=["before", "after", "harvis", "forty"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "forty":
        written = tmp_path / "forty.yaml"
        written.write_text(forty_mixed_nodes())
        return written
    return EXAMPLE_FILES[["before", "after", "harvis"].index(request.param)]


def read_output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_command(arguments) == 0
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:  # JSON
    return json.loads(read_output(capsys, *arguments, "--json"))


def test_every_node_has_its_row_and_its_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = as_json(capsys, "power", str(file))
    table = read_output(capsys, "power", str(file)).split("\n\n")[1].splitlines()

    assert [line.split()[0] for line in table[1:]] == [node["node"] for node in answer["nodes"]]
    assert {node["verdict"] for node in answer["nodes"]} <= {verdict.value for verdict in Verdict}


def test_the_same_file_is_told_alike_byte_for_byte(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_output(capsys, "power", str(file)) == read_output(capsys, "power", str(file))


def test_every_number_of_the_json_has_an_origin(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for node in as_json(capsys, "power", str(file))["nodes"]:
        figures = [node["other"], *node["full"].values()]
        assert all(figure["origin"] and figure["source"] for figure in figures if figure is not None)


def test_explain_lists_every_number_with_its_origin(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, *rows = read_output(capsys, "power", "--explain", str(file)).splitlines()
    assert header.split("  ")[0] == "node"
    assert [row for row in rows if not re.search(r"  (catalogue|cluster file|computed|assumed|declared)  ", row)] == []


def test_hydra_is_told_what_its_owners_worked_out_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    (_, before, _), (_, after, _) = (as_json(capsys, "power", str(file))["nodes"] for file in EXAMPLE_FILES[:2])

    assert [before["full"][key]["value"] for key in ("gpus", "system")] == [470, 620]
    assert [after["full"][key]["value"] for key in ("gpus", "system", "gpu_current")] == [600, 750, 50]
    assert (before["recommended_psu"]["value"], after["recommended_psu"]["value"]) == (750, 850)
    assert (after["psu"]["value"], after["verdict"]) == (1000, "unknown")  # peaks of 111 %, and no standard
    assert after["limited"]["gpus"]["value"] == 500


def test_the_answer_says_which_supplies_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    answer = read_output(capsys, "power", str(EXAMPLES / "hydra/cluster.yaml")).splitlines()[0]
    assert answer == "power supplies: 3 unknown (hydra-ai, hydra-compute, hydra-storage)"


def test_a_sentence_is_printed_once_and_its_source_when_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    short = read_output(capsys, "power", str(EXAMPLES / "hydra/cluster.yaml"))
    long = read_output(capsys, "power", str(EXAMPLES / "hydra/cluster.yaml"), "-v")

    assert short.count("which cables the supply has is not known") == 1
    assert "Intel" not in short
    assert "Intel, ATX Version 3 design guide" in long


def test_the_cost_of_a_night_stands_in_the_table_where_there_is_a_tariff(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = read_output(capsys, "power", str(file)).split("\n\n")[1].splitlines()[0]
    assert ("cost" in header.split()) is (file.name == "forty.yaml")


def test_sums_that_lack_a_card_or_rest_on_an_assumption_are_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("apiVersion: corral/v1\nname: c\nnodes: [{name: n, gpus: [{model: RTX 4090}, {memory: 8Gi}]}]\n")
    out = read_output(capsys, "power", str(path))
    assert ">=450 W" in out
    assert "n: GPU 1 (no model stated): its power is unknown; it is counted as nothing" in out
    assert "~671 W" in read_output(capsys, "power", str(EXAMPLES / "harvis/cluster.yaml"))


def test_the_driver_of_this_machine_is_asked_which_limits_its_cards_take() -> None:
    cards = tuple(
        FoundGpu(index=index, uuid=f"GPU-{index}", name="NVIDIA GeForce RTX 5070 Ti", power_limit_range_w=(280, 350))
        for index in range(2)
    )

    power = work_out_power(
        PowerAsked(cluster=read_cluster_file(EXAMPLE_FILES[1]), here="hydra-compute"),
        look=lambda: NvmlReading(status=NvmlStatus.OK, gpus=cards),
    )

    judgements = [judgement for judgement in power.nodes[1].judgements if judgement.about.startswith("power limit")]
    assert {judgement.verdict for judgement in judgements} == {Verdict.NOT_ENOUGH}
    assert "280 W to 350 W" in judgements[0].what


def test_a_machine_whose_driver_cannot_be_asked_says_why() -> None:
    reading = NvmlReading(status=NvmlStatus.NO_DRIVER, reason="the kernel module is not loaded")
    with pytest.raises(NoDriverError, match="the kernel module is not loaded"):
        work_out_power(
            PowerAsked(cluster=read_cluster_file(EXAMPLE_FILES[1]), here="hydra-compute"), look=lambda: reading
        )


def test_a_node_that_is_not_in_the_file_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(NoSuchNodeError) as caught:
        work_out_power(PowerAsked(cluster=read_cluster_file(EXAMPLE_FILES[1]), here="hydra-compte"))
    assert caught.value.hint == "did you mean `hydra-compute`?"


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["power", str(tmp_path / "none.yaml")]) == 3
    assert "corral inventory" in capsys.readouterr().err


def test_find_lists_the_models_of_a_name_with_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    header, *rows = read_output(capsys, "gpus", "find", "RTX", "3060").splitlines()
    assert "bandwidth" in header
    assert "CUDA" not in header
    assert [row.split("  ")[0] for row in rows] == ["RTX 3060 12 GB", "RTX 3060 8 GB"]


def test_find_has_json(capsys: pytest.CaptureFixture[str]) -> None:
    items = as_json(capsys, "gpus", "find", "3060 12GB")["items"]
    assert [item["source"].rpartition(".")[2] for item in items] == ["c3682"]


def test_show_tells_every_fact_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    facts = read_output(capsys, "gpus", "show", "RTX 5070 Ti")
    for fact in ("16.0 GiB", "300 W", "896 GB/s", "700 W", "1x 16-pin", "Dual-slot", "12.0", "Blackwell 2.0", "c4243"):
        assert fact in facts


def test_show_has_json(capsys: pytest.CaptureFixture[str]) -> None:
    facts = as_json(capsys, "gpus", "show", "NVIDIA GeForce RTX 5070 Ti")
    assert (facts["gpu_class"], facts["cuda_capability"], facts["released"]) == ("5070ti", [12, 0], "2025-02-20")


def test_show_writes_unknown_where_the_catalogue_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    facts = read_output(capsys, "gpus", "show", "Radeon 8060S")
    assert "none of its own" in facts
    assert "unknown" in facts


def test_show_of_a_name_of_several_models_lists_them_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["gpus", "show", "A100"]) == 2
    printed = capsys.readouterr()
    assert "A100 SXM4 80 GB" in printed.out
    assert "error[hardware.ambiguous_gpu]" in printed.err


def test_show_of_several_models_as_json_prints_no_half_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["gpus", "show", "A100", "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert json.loads(printed.err)["error"]["code"] == "hardware.ambiguous_gpu"


def test_a_family_is_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["gpus", "find", "Radeon"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 31
    assert "more; write more of the name" in printed.err


def test_an_unknown_model_is_refused_with_close_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["gpus", "find", "RTX 5O70 Ti"]) == 3
    assert "`RTX 5070 Ti`" in capsys.readouterr().err


def test_output_that_finds_no_room_is_told_and_is_no_mistake_of_corral() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([str(CORRAL), "gpus", "find", "4090"], stdout=full, stderr=subprocess.PIPE, text=True)

    assert (done.returncode, done.stderr.splitlines()[0]) == (6, "error[cli.no_space]: no space left on device")


def test_a_cluster_file_that_is_no_text_is_told_with_the_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_bytes(b"name: \xff")

    assert run_command(["power", str(file)]) == 2
    assert "error[cluster.not_text]: the cluster file is not UTF-8 text: byte 7 is 0xff" in capsys.readouterr().err


def test_a_file_without_end_is_refused_before_it_fills_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["power", "/dev/zero"]) == 2
    assert run_command(["upgrade", str(EXAMPLES / "hydra/before.yaml"), "--changes", "/dev/zero"]) == 2

    said = capsys.readouterr().err
    assert "error[cluster.too_large]: the file has more than 4000000 bytes" in said
    assert "error[changes.too_large]: the file has more than 4000000 bytes" in said
