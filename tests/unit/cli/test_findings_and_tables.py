"""What doctor says of a server, and how tables are cut."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from corral.cli.listing import format_ago, format_span
from corral.cli.terminal import format_count, put_fields, put_table
from corral.operations.doctor import judge_server
from corral.telemetry.doctor import State


def test_a_slot_whose_engine_has_a_problem_is_a_warning_with_that_problem() -> None:
    slots = [
        {"id": "n/gpu0/llama", "device": "n/gpu0", "gate": "open", "problem": "not installed"},
        {"id": "n/cpu0/piper", "device": "n/cpu0", "gate": "paused", "problem": None},
        {"id": "n/cpu0/whisper", "device": "n/cpu0", "gate": "paused", "problem": None},
        {"id": "n/gpu1/comfyui/a", "device": "n/gpu1", "gate": "open", "problem": None},
        {"id": "n/gpu1/ollama", "device": "n/gpu1", "gate": "draining", "problem": None},
    ]

    server, *devices = judge_server("http://x", "leading", slots, [], trusts_loopback=None)

    assert (server.state, server.what) == (
        State.OK,
        "answers at http://x; the database answers, the dispatcher is leading",
    )
    assert [(finding.name, finding.state, finding.what) for finding in devices] == [
        ("slot n/gpu0/llama", State.WARNING, "not installed"),
        ("device n/cpu0", State.OK, "paused, with piper, whisper"),
        ("device n/gpu1", State.OK, "comfyui/a (open), ollama (draining)"),
    ]


def test_model_that_is_not_on_the_gpu_of_its_slot_is_a_warning_with_what_to_do() -> None:
    slot = {"device": "n/gpu0", "gate": "open", "problem": None}
    slots = [
        {**slot, "id": "n/gpu0/llama", "computes_on": "the processor", "caution": "install a llama-server"},
        {**slot, "id": "n/gpu0/other", "computes_on": "CUDA0 (RTX 4090), 31 of 31 layers", "caution": None},
    ]

    _, *devices = judge_server("http://x", "leading", slots, [], trusts_loopback=None)

    assert [(finding.state, finding.what) for finding in devices] == [
        (State.OK, "open, with llama (on the processor), other (on CUDA0 (RTX 4090), 31 of 31 layers)"),
        (State.WARNING, "install a llama-server"),
    ]


def test_long_cells_are_cut_except_in_the_last_column(capsys: pytest.CaptureFixture[str]) -> None:
    put_table(("a", "b"), [("x" * 100, "y" * 100), (None, "two\nlines")], empty="none")

    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 59 + "…  " + "y" * 100
    assert lines[2].split() == ["-", "two", "lines"]


def test_an_empty_table_says_so_on_stderr_only(capsys: pytest.CaptureFixture[str]) -> None:
    put_table(("a",), [], empty="no tasks")

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no tasks\n")


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    put_fields([("name", "x"), ("model", None), ("gpus", 0)])

    assert capsys.readouterr().out == "name  x\ngpus  0\n"


def test_instants_are_told_from_now() -> None:
    now = datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC)

    assert format_ago("2026-01-01T00:00:00+00:00", now=now) == "1m 30s ago"
    assert format_ago("2026-01-01T00:02:00+00:00", now=now) == "in 30.0s"
    assert format_ago(None, now=now) == ""
    assert format_span("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:02+00:00") == "2.0s"
    assert format_span(None, None) == ""


def test_one_thing_is_not_told_as_several() -> None:
    assert [format_count(n, "task") for n in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


def test_the_doctor_says_whether_requests_of_this_machine_need_a_token() -> None:
    said = [
        [finding.what for finding in judge_server("http://x", "leading", [], [], trusts_loopback=trusts)][1:]
        for trusts in (True, False, None)
    ]

    assert said[0][0].startswith("requests of this machine need no token: each of its users is an administrator")
    assert said[1:] == [["every request needs a token"], []]
