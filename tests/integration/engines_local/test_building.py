"""How local engines are built for slots, and where their logs go."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from corral.data_dir import default_data_dir
from corral.engine_facts import EngineKind
from corral.engine_kinds import CHATTERBOX, ENGINES, TRAINER, WHISPER
from corral.engines.building import Device, build
from corral.engines.environments.finding import Environments
from corral.errors import ProblemsError
from corral.processes.bounded_log import BoundedLog
from corral.work import EngineUnavailableError
from doubles.lending import LoneBook

APART = {CHATTERBOX.name: "chatterbox", TRAINER.name: "torch"}
"""Libraries that cannot be installed next to those of the others, by engine."""
LOCAL = [kind for kind in ENGINES.values() if not kind.remote]


@pytest.mark.parametrize("kind", LOCAL, ids=lambda kind: kind.name)
def test_every_local_engine_can_be_built_and_those_that_fit_together_are_installed(
    kind: EngineKind, logs: Path
) -> None:
    engine = build(
        kind.name,
        device=Device(name="gpu0", gpu="0"),
        threads=1,
        options={},
        locate=Path,
        log_dir=logs,
        holds=LoneBook(),
    )

    assert engine.name == kind.name
    if kind.name in APART:
        with pytest.raises(EngineUnavailableError, match=f"no library '{APART[kind.name]}'") as raised:
            Environments().require(kind)
        assert raised.value.hint == f"corral engines install {kind.name}"
    else:
        assert Environments().require(kind).python == sys.executable


def test_wrong_options_are_all_named_before_anything_starts(logs: Path) -> None:
    options = {"contextSize": 1, "gpuLayer": 3}

    with pytest.raises(ProblemsError) as raised:
        build("llama", device=Device(name="cpu0"), threads=1, options=options, locate=Path, log_dir=logs)

    assert {problem.where for problem in raised.value.problems} == {"options.contextSize", "options.gpuLayer"}


def test_install_command_builds_the_environment_where_this_corral_looks_for_it() -> None:
    usual, other = Environments(default_data_dir() / "engines"), Environments(Path("/srv/corral/engines"))

    assert usual.write_command(WHISPER) == "corral engines install whisper"
    assert other.write_command(WHISPER, "cuda") == (
        "corral engines install whisper --variant cuda --data-dir /srv/corral"
    )


def test_log_keeps_what_came_last_and_never_grows_past_its_limit(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "logs" / "worker.log", limit_bytes=1000)

    for number in range(200):
        log.write(f"line {number}\n".encode())

    kept = "".join((tmp_path / "logs" / name).read_text() for name in ("worker.log.1", "worker.log"))
    assert len(kept) <= 1000
    assert kept.endswith("line 198\nline 199\n")
    assert log.tail[-2:] == ("line 198", "line 199")


def test_tail_is_readable_whatever_was_printed(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "worker.log")

    log.write(b"\xff\x00bad\n\n" + b"y" * 100_000 + b"\ncut in ")
    log.write(b"two")

    assert log.tail[0] == "\ufffd bad"
    assert len(log.tail[1]) == 400
    assert log.tail[2] == "cut in two"


def test_log_that_cannot_be_written_does_not_fail_the_engine(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "worker.log")
    (tmp_path / "worker.log").mkdir()

    log.write(b"lost\n")

    assert log.tail == ("lost",)
