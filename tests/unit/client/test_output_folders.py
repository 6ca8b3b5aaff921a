"""Names and the manifest of a run: readable, unique, and never outside the folder."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from corral.client.output_folder import MANIFEST, FileNames, Heading, make_manifest, read_names
from corral.client.progress import Output, TaskView
from corral.files import to_file_name

TEXTS = st.text(max_size=300) | st.sampled_from(["..", ".", "/", "a/../..", "CON", "nul.txt", "manifest", "a.b", "A.b"])


def test_the_only_output_of_a_kind_is_named_after_its_task() -> None:
    given_names = FileNames().name_outputs(1, "hear-1", ["text.txt", "segments.json", "subtitles.srt"])

    assert list(given_names.values()) == ["hear-1.txt", "hear-1.json", "hear-1.srt"]


def test_several_outputs_of_a_kind_keep_their_own_names() -> None:
    assert list(FileNames().name_outputs(1, "draw", ["a.png", "b.png"]).values()) == ["draw.a.png", "draw.b.png"]


def test_a_task_called_manifest_does_not_take_the_manifests_name() -> None:
    assert FileNames().name_outputs(4, "manifest", ["x.json"]) == {"x.json": "manifest-4.json"}


def test_names_that_differ_in_case_only_are_kept_apart() -> None:
    names = FileNames()

    assert names.name_outputs(1, "Say", ["a.wav"])["a.wav"] == "Say.wav"
    assert names.name_outputs(2, "say", ["a.wav"])["a.wav"] == "say-2.wav"


@given(tasks=st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=4, unique=True)), max_size=6))
def test_every_output_gets_a_plain_name_of_its_own(tasks: list[tuple[str, list[str]]]) -> None:
    names = FileNames()
    files = [
        file for id, (name, outputs) in enumerate(tasks, 1) for file in names.name_outputs(id, name, outputs).values()
    ]

    assert len({file.casefold() for file in files}) == len(files)
    for file in files:
        assert file == Path(file).name
        assert file.isascii()
        assert not file.startswith(".")
        assert len(file) <= 200
        assert file != MANIFEST


def test_a_continued_run_gives_the_same_names_again(tmp_path: Path) -> None:
    output = Output(name="a.wav", sha256="ab", size=1, media_type="audio/wav")
    tasks = [
        TaskView(id=id, name=name, engine="piper", inputs={}, outputs=(output,))
        for id, name in [(1, "Say"), (2, "say")]
    ]
    heading = Heading(name="b", batch=7, digest="d")
    (tmp_path / MANIFEST).write_text(
        json.dumps(make_manifest(heading, tasks, {1: {"a.wav": "Say.wav"}, 2: {"a.wav": "say-2.wav"}}))
    )

    again = FileNames(read_names(tmp_path / MANIFEST, 7))

    assert again.name_outputs(2, "say", ["a.wav"]) == {"a.wav": "say-2.wav"}
    assert again.name_outputs(1, "Say", ["a.wav"]) == {"a.wav": "Say.wav"}
    assert read_names(tmp_path / MANIFEST, 8) == {}


def test_a_manifest_that_names_a_file_elsewhere_is_not_believed(tmp_path: Path) -> None:
    outputs = [
        {"name": "a", "file": "../../etc/passwd"},
        {"name": "b", "file": ".hidden"},
        {"name": "c", "file": "ok.txt"},
    ]
    (tmp_path / MANIFEST).write_text(json.dumps({"batch": 1, "tasks": [{"id": 1, "outputs": outputs}]}))

    assert read_names(tmp_path / MANIFEST, 1) == {(1, "c"): "ok.txt"}


def test_names_are_readable_where_they_can_be() -> None:
    assert to_file_name("Schöne Grüße / 1") == "Sch-ne-Gr-e-1"
    assert to_file_name("../../x") == "x"
    assert to_file_name("") == "unnamed"
