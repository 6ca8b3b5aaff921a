"""Files of an attempt pass through the folder that its pods share."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from corral.engines.job.files import AttemptFolder, remove_forgotten
from corral.engines.job.manifest import FOLDER
from corral.work import EngineError, TaskInvalidError


def test_inputs_go_in_and_declared_outputs_come_out(tmp_path: Path) -> None:
    source, scratch = tmp_path / "words", tmp_path / "scratch"
    source.write_text("a cat")
    scratch.mkdir()
    folder = AttemptFolder.find(tmp_path / "shared", uuid4())
    folder.prepare({"caption.txt": source})
    assert (folder.path / "inputs" / "caption.txt").read_text() == "a cat"
    (folder.path / "outputs" / "step-2").mkdir()
    (folder.path / "outputs" / "step-2" / "cat.safetensors").write_bytes(b"weights")
    (folder.path / "outputs" / "unnamed").write_text("left behind")

    outputs = folder.collect(["*/*.safetensors"], scratch, ("log.txt",))

    assert [(output.name, output.path.read_bytes()) for output in outputs] == [("cat.safetensors", b"weights")]


def test_missing_output_fails_the_attempt_and_a_link_out_of_the_folder_is_none(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of this machine")
    folder = AttemptFolder.find(tmp_path, uuid4())
    folder.prepare({})
    (folder.path / "outputs" / "stolen.txt").symlink_to(secret)

    with pytest.raises(EngineError, match=r"stolen\.txt"):
        folder.collect(["stolen.txt"], tmp_path, ())


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = AttemptFolder.find(tmp_path, uuid4())
    folder.prepare({})
    for step in ("1", "2"):
        (folder.path / "outputs" / step).mkdir()
        (folder.path / "outputs" / step / "cat.bin").touch()

    with pytest.raises(TaskInvalidError, match=r"two outputs are called 'cat\.bin'"):
        folder.collect(["*/cat.bin"], tmp_path, ())


def test_folders_of_forgotten_attempts_go_and_those_of_known_or_young_ones_stay(tmp_path: Path) -> None:
    known, young, forgotten = (AttemptFolder.find(tmp_path, uuid4()) for _ in range(3))
    for folder in (known, young, forgotten):
        folder.prepare({})
    for folder in (known, forgotten):
        os.utime(folder.path, (1000, 1000))

    remove_forgotten(tmp_path, {known.path.name}, older_than=2000)

    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {known.path.name, young.path.name}
