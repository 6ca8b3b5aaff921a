"""`corral forecast` on the cluster files at hand, and on wrong input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from corral.cli.main import run_command
from corral.operations.cluster_file import read_cluster_file
from corral.operations.forecast_requests import ForecastAsked
from corral.operations.forecasting import play_workloads, read_history
from corral.scheduling.values import DurationKey
from corral.work import SlotId
from doubles.clusters import forty_mixed_nodes, open_cluster

EXAMPLES = Path(__file__).parents[3] / "examples"
NAPS = {
    "apiVersion": "corral/v1",
    "kind": "Batch",
    "name": "naps",
    "tasks": [
        {"name": "first", "engine": "sleep", "inputs": {"seconds": 100}},
        {"name": "second", "engine": "sleep", "inputs": {"seconds": 50}, "needs": ["first"]},
    ],
}


@pytest.fixture
def forty(tmp_path: Path) -> Path:
    path = tmp_path / "forty.yaml"
    path.write_text(forty_mixed_nodes())
    return path


def files(forty: Path) -> Iterator[Path]:
    yield from (
        EXAMPLES / "hydra/before.yaml",
        EXAMPLES / "hydra/cluster.yaml",
        EXAMPLES / "harvis/cluster.yaml",
        forty,
    )


def run(*words: str | Path) -> int:
    return run_command(["forecast", *map(str, words)])


def read_answer(capsys: pytest.CaptureFixture[str]) -> Any:  # JSON
    return json.loads(capsys.readouterr().out)


def test_every_cluster_file_has_a_forecast(forty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in files(forty):
        assert run(path) == 0
        assert run(path, "--explain", "--nights", "7") == 0
        capsys.readouterr()
        assert run(path, "--json") == 0
        assert set(read_answer(capsys)) == {"cluster", "workloads", "asked"}


@pytest.mark.parametrize(("file", "hour", "night"), [("before", 120, 960), ("cluster", 240, 1920)])
def test_hydra_makes_what_its_cards_can(file: str, hour: int, night: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(EXAMPLES / f"hydra/{file}.yaml", "--workload", "images", "--json") == 0
    (images,) = read_answer(capsys)["workloads"]
    assert (images["per_hour"]["value"], images["per_night"]["value"]) == (hour, night)


def test_what_was_asked_stands_beside_what_is(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = EXAMPLES / "hydra/cluster.yaml"
    assert run(cluster, "-w", "images", "--fail", "hydra-compute/gpu1@2h", "--json") == 0
    report = read_answer(capsys)
    assert [report[name][0]["per_night"]["value"] for name in ("workloads", "asked")] == [1920, 1200]


def test_a_year_of_nights_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(EXAMPLES / "hydra/cluster.yaml", "-w", "images", "--nights", "365", "--json") == 0
    assert read_answer(capsys)["workloads"][0]["nights"]["value"] == 700_800


def test_files_stand_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg, html = tmp_path / "night.svg", tmp_path / "night.html"
    assert run(EXAMPLES / "hydra/cluster.yaml", "--gantt", svg, "--html", html) == 0
    assert fromstring(svg.read_text()).get("role") == "img"
    for text in (svg.read_text(), html.read_text()):
        assert text.replace("http://www.w3.org/2000/svg", "").count("http") == 0


def test_everything_wrong_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = (
        "--night",
        "soon",
        "--slow",
        "hydra-compute/gpu7=2",
        "--slow",
        "x",
        "--slow",
        f"hydra-compute/gpu0={9e30:.0f}",
        "--fail",
        "hydra-compute/gpu1@4h..2h",
    )
    assert run(EXAMPLES / "hydra/cluster.yaml", *wrong) != 0
    said = capsys.readouterr().err
    for part in (
        "'soon'",
        "hydra-compute/gpu7",
        "hydra-compute/gpu1`",
        "node/gpu1=1.5",
        "ends before it begins",
        "from 0.001 to 1000",
    ):
        assert part in said


def test_a_wrong_workload_and_a_wrong_start_of_history_are_told_with_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = ("-w", "imgaes", "--measured", "yore", "--night", "soon")

    assert run(EXAMPLES / "hydra/cluster.yaml", *wrong, "--json") == 2

    problems = json.loads(capsys.readouterr().err)["error"]["problems"]
    assert [problem["code"] for problem in problems] == [
        "forecast.unknown_workload",
        "forecast.asked",
        "forecast.since",
    ]


def test_options_that_mean_nothing_together_are_all_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--batch", "none.yaml", "--night", "8h", "--slow", "a/gpu0=2", "--replay", "12h", "--json") == 2

    problems = json.loads(capsys.readouterr().err)["error"]["problems"]
    assert [problem["where"] for problem in problems] == ["--night", "--slow", "--replay"]


def test_a_replay_reads_its_files_before_it_asks_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = (EXAMPLES / "hydra/cluster.yaml", "--replay", "12h", "--against", tmp_path / "none.yaml")

    assert run(*files, "--data-dir", tmp_path) == 3

    assert "cluster.unreadable" in capsys.readouterr().err


def test_everything_wrong_about_a_replay_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--replay", "yore", "--json") == 2

    problems = json.loads(capsys.readouterr().err)["error"]["problems"]
    assert [problem["code"] for problem in problems] == ["forecast.since", "forecast.asked"]


def test_an_unknown_workload_has_a_near_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(EXAMPLES / "hydra/cluster.yaml", "-w", "imgaes") != 0
    assert "did you mean `images`?" in capsys.readouterr().err


def test_a_batch_is_forecast_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch, drawn = tmp_path / "naps.yaml", tmp_path / "naps.svg"
    batch.write_text(json.dumps(NAPS))
    assert run(EXAMPLES / "hydra/cluster.yaml", "--batch", batch, "--gantt", drawn, "--json") == 0
    assert read_answer(capsys)["makespan"]["value"] == 150
    assert "task 2, sleep" in drawn.read_text()
    assert run(EXAMPLES / "hydra/cluster.yaml", "--batch", batch) == 0
    assert "2m 30s" in capsys.readouterr().out


def test_a_replay_needs_both_of_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(EXAMPLES / "hydra/cluster.yaml", "--replay", "12h") != 0
    assert "--against" in capsys.readouterr().err


def test_finished_tasks_say_how_long_one_takes_on_which_card() -> None:
    history = read_history(
        [a_finished(1, 20), a_finished(2, 24)], open_cluster(EXAMPLES / "hydra/cluster.yaml").cluster
    )
    assert history.expected[DurationKey("comfyui", "sdxl", "RTX 5070 Ti")] == 22


def test_forecast_with_measured_watts_takes_them() -> None:
    asked = ForecastAsked(cluster=read_cluster_file(EXAMPLES / "hydra/cluster.yaml"), workload="images", measured="7d")
    tasks = [a_finished(1, 20)]
    drawn = {SlotId("hydra-compute/gpu0"): 200.0}
    (measured,) = play_workloads(asked, finished=lambda _: tasks, watts=lambda _: drawn).plain
    (declared,) = play_workloads(asked, finished=lambda _: tasks).plain

    assert any("hydra-compute/gpu0 200 W" in line for line in measured.assumed)
    assert measured.energy is not None
    assert declared.energy is not None
    assert measured.energy.value < declared.energy.value


def a_finished(number: int, seconds: int) -> dict[str, Any]:
    """A task that has succeeded, as the HTTP API shows it."""
    at = "2026-03-01T22:00:{:02d}+00:00"
    nothing = dict.fromkeys(("memory", "batch", "error"))
    kind = {"owner": "a", "engine": "comfyui", "model": "sdxl", "queue": "default", "class": "batch", "needs": []}
    times = {"created_at": at.format(0), "queued_at": at.format(0), "started_at": at.format(0)}
    rest = {"id": number, "priority": "normal", "gpus": 1, "slots": ["hydra-compute/gpu0"]}
    return {**nothing, **kind, **times, **rest, "finished_at": at.format(seconds)}


def test_a_cost_below_a_cent_is_told_by_its_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cluster.yaml"
    text = (EXAMPLES / "hydra/cluster.yaml").read_text()
    file.write_text(text + "electricity: {pricePerKwh: 0.35, currency: EUR}\n")
    assert run(file, "--workload", "images", "--explain") == 0
    shown = capsys.readouterr().out
    assert re.search(r"cost of one image: 0\.00\d+ EUR", shown)
    assert "p99 wait of batch tasks" in shown


def test_how_long_a_model_loads_counts_with_and_without_what_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    slow = ("--slow", "hydra-compute/gpu1=1.5")
    assert run(EXAMPLES / "hydra/cluster.yaml", "--workload", "images", "--load", "20s", *slow) == 0
    shown = capsys.readouterr().out
    assert "takes no time" not in shown
    assert run(EXAMPLES / "hydra/cluster.yaml", "--workload", "images", *slow) == 0
    assert "takes no time" in capsys.readouterr().out
