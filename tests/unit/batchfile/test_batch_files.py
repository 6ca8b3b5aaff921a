"""Batch files: what is read, and that everything wrong is said at once with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from corral.batchfile.reading import BatchFileError, Read, open_batch_file, read_batch
from corral.batchfile.shape import json_schema
from corral.batchfile.values import digest_content
from corral.errors import Problem

EXAMPLE = Path(__file__).parents[3] / "examples" / "first-batch.yaml"
HEAD = "apiVersion: corral/v1\nkind: Batch\nname: b\n"


def read(text: str) -> Read:
    return read_batch(HEAD + text, filename="b.yaml", folder=Path("/folder"))


def problems(text: str) -> list[tuple[str, str | None]]:
    with pytest.raises(BatchFileError) as caught:
        read(text)
    return [(problem.code, problem.where) for problem in caught.value.problems]


def test_the_example_has_twelve_tasks_and_each_transcription_takes_its_own_line() -> None:
    batch = open_batch_file(EXAMPLE).batch

    assert len(batch.tasks) == 12
    files = {task.name: task.body.get("files") for task in batch.tasks if task.engine == "whisper"}
    assert files == {f"hear-{n}": {"audio": {"task": f"say-{n}", "output": "speech.wav"}} for n in range(1, 5)}


def test_the_schema_accepts_the_example_and_refuses_an_unknown_key() -> None:
    validator = Draft202012Validator(json_schema())
    example = YAML(typ="safe").load(EXAMPLE)

    assert not list(validator.iter_errors(example))
    assert list(validator.iter_errors({**example, "taks": []}))


def test_defaults_fill_what_a_task_leaves_out_and_never_replace_what_it_says() -> None:
    batch = read(
        "defaults: {engine: llama, model: m, timeout: 10m, maxAttempts: 2, inputs: {temperature: 0, max_tokens: 5}}\n"
        "tasks:\n- {name: a, inputs: {prompt: p, max_tokens: 9}}\n- {name: c, model: other, inputs: {prompt: p}}\n"
    ).batch

    first, second = batch.tasks
    assert first.body["inputs"] == {"temperature": 0, "max_tokens": 9, "prompt": "p"}
    assert (first.body["timeout"], first.body["max_attempts"], first.model) == (600.0, 2, "m")
    assert second.model == "other"


def test_a_node_is_written_for_a_task_or_for_all_and_an_option_goes_before_both() -> None:
    batch = read(
        "defaults: {engine: llama, model: m, preferNode: hydra, inputs: {prompt: p}}\n"
        "tasks:\n- {name: a}\n- {name: b, node: desk}\n"
    ).batch

    assert [(task.body.get("node"), task.body.get("prefer_node")) for task in batch.tasks] == [
        (None, "hydra"),
        ("desk", "hydra"),
    ]
    everywhere = batch.with_everywhere({"node": "attic", "prefer_node": None})
    assert [(task.body["node"], task.body.get("prefer_node")) for task in everywhere.tasks] == [("attic", None)] * 2
    assert everywhere.tasks[0].body["inputs"] == {"prompt": "p"}


def test_defaults_are_sent_as_they_are_written_and_filled_in_by_the_server() -> None:
    batch = read(
        "defaults: {engine: llama, model: m, timeout: 10m, class: interactive, notBefore: 2030-01-01T00:00:00+01:00}\n"
        "tasks:\n- {name: a, inputs: {prompt: p}}\n"
    ).batch

    assert batch.request({}) == {
        "name": "b",
        "defaults": {
            "engine": "llama",
            "model": "m",
            "timeout": 600.0,
            "class": "interactive",
            "not_before": "2029-12-31T23:00:00Z",
        },
        "tasks": [{"name": "a", "inputs": {"prompt": "p"}}],
    }


def test_a_file_of_this_machine_that_all_tasks_take_is_uploaded_once(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"")
    text = f"{HEAD}defaults: {{files: {{audio: ./x.wav}}}}\ntasks:\n- {{name: a, engine: whisper, model: m}}\n"

    batch = read_batch(text, filename="b.yaml", folder=tmp_path).batch

    assert batch.local_files == (tmp_path / "x.wav",)
    assert batch.request({tmp_path / "x.wav": "ab"})["defaults"] == {"files": {"audio": {"upload": "ab"}}}


def test_units_are_written_out_for_the_server() -> None:
    task = read("tasks:\n- {name: a, engine: llama, model: m, memory: 8Gi, timeout: 1h30m, inputs: {prompt: p}}\n")

    assert task.batch.tasks[0].body["memory"] == 8 * 2**30
    assert task.batch.tasks[0].body["timeout"] == 5400


def test_a_file_of_this_machine_is_uploaded_and_named_by_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"")
    text = f"{HEAD}tasks:\n- {{name: a, engine: whisper, model: m, files: {{audio: ./x.wav}}}}\n"

    batch = read_batch(text, filename="b.yaml", folder=tmp_path).batch

    assert batch.local_files == (tmp_path / "x.wav",)
    assert batch.request({tmp_path / "x.wav": "ab"})["tasks"][0]["files"] == {"audio": {"upload": "ab"}}


def test_a_task_name_with_a_slash_can_be_referred_to() -> None:
    tasks = (
        "tasks:\n- {name: a/b, engine: piper, model: m, inputs: {text: hi}}\n"
        "- {name: c, engine: whisper, model: m, files: {audio: a/b/speech.wav}}\n"
    )

    assert read(tasks).batch.tasks[1].body["files"] == {"audio": {"task": "a/b", "output": "speech.wav"}}


def test_every_wrong_key_and_value_is_reported_at_its_line() -> None:
    text = "taks: 3\ntasks:\n- {name: a, engine: piper, timeout: soon}\n- {name: 7, prioritty: high}\n"

    assert problems(text) == [
        ("batchfile.unknown_key", "b.yaml:4:1 taks"),
        ("batchfile.bad_value", "b.yaml:6:37 tasks[0].timeout"),
        ("batchfile.bad_value", "b.yaml:7:10 tasks[1].name"),
        ("batchfile.unknown_key", "b.yaml:7:13 tasks[1].prioritty"),
    ]


def test_every_wrong_reference_and_input_is_reported_at_its_line() -> None:
    text = (
        "tasks:\n"
        "- {name: a, engine: piper, model: m, inputs: {text: hi, speeker: 1}}\n"
        "- {name: c, engine: whisper, files: {audio: a/speach.wav}}\n"
        "- {name: c, engine: whispr, needs: [aa, c], files: {x: ./nope}}\n"
    )

    assert problems(text) == [
        ("input.unknown", "b.yaml:5:66 tasks[0].inputs.speeker"),
        ("batchfile.missing_key", "b.yaml:6:3 tasks[1].model"),
        ("batchfile.unknown_output", "b.yaml:6:45 tasks[1].files.audio"),
        ("batchfile.duplicate_name", "b.yaml:7:10 tasks[2].name"),
        ("input.no_engine", "b.yaml:7:21 tasks[2].engine"),
        ("batchfile.unknown_task", "b.yaml:7:37 tasks[2].needs[0]"),
        ("batchfile.needs_itself", "b.yaml:7:41 tasks[2].needs[1]"),
        ("batchfile.no_file", "b.yaml:7:56 tasks[2].files.x"),
    ]


def test_a_part_of_an_outputs_name_can_be_decided_by_its_task() -> None:
    speaks = "tasks:\n- {name: a, engine: openai, model: m, inputs: {kind: speak, prompt: hi}}\n"
    takes = "- {{name: b, engine: whisper, model: m, files: {{audio: a/{}}}}}\n"

    batch = read(speaks + takes.format("speech.flac")).batch

    assert batch.body["tasks"][1]["files"]["audio"]["output"] == "speech.flac"
    assert [code for code, _ in problems(speaks + takes.format("spoken.flac"))] == ["batchfile.unknown_output"]


def test_a_misspelt_reference_gets_the_name_that_was_meant() -> None:
    with pytest.raises(BatchFileError) as caught:
        read(
            "tasks:\n- {name: say-1, engine: piper, model: m, inputs: {text: hi}}\n"
            "- {name: b, engine: piper, model: m, needs: [sya-1], inputs: {text: hi}}\n"
        )

    assert caught.value.hint == "did you mean `say-1`?"


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("tasks[0] (a).inputs.text", "b.yaml:6:53 tasks[0].inputs.text"),
        ("tasks[0].max_attempts", "b.yaml:6:71 tasks[0].maxAttempts"),
        ("defaults.queue", "b.yaml:4:19 defaults.queue"),
    ],
)
def test_what_the_server_refuses_is_shown_at_its_place_in_the_file(where: str, place: str) -> None:
    error = read(
        "defaults: {queue: nigth}\ntasks:\n- {name: a, engine: piper, model: m, inputs: {text: hi}, maxAttempts: 99}\n"
    ).make_error((Problem(code="queue.unknown", what="no such queue", where=where),))

    assert error.problems[0].where == place


@pytest.mark.parametrize("text", ["", "- a", "7", "a: [", "{}", "\x00", "a: *b"])
def test_what_is_no_batch_file_is_a_clear_error(text: str) -> None:
    with pytest.raises(BatchFileError):
        read_batch(text, filename="b.yaml", folder=Path("/folder"))


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["a", "say-1/x.wav", "10m"])
KEYS = st.sampled_from(["name", "engine", "model", "inputs", "files", "needs", "timeout", "text", "path", "task", "x"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


@given(tasks=VALUES, defaults=VALUES)
def test_any_content_is_a_batch_or_a_clear_error(tasks: object, defaults: object) -> None:
    text = json.dumps({"apiVersion": "corral/v1", "kind": "Batch", "name": "b", "defaults": defaults, "tasks": tasks})
    problems: tuple[Problem, ...] = ()
    try:
        read_batch(text, filename="b.yaml", folder=Path("/folder"))
    except BatchFileError as error:
        problems = error.problems
    assert all(problem.where and problem.what for problem in problems)


def test_the_digest_depends_on_content_and_not_on_the_order_of_keys() -> None:
    digest = digest_content({"name": "b", "tasks": [{"a": 1, "b": 2}]}, {})

    assert digest == digest_content({"tasks": [{"b": 2, "a": 1}], "name": "b"}, {})
    assert digest != digest_content({"name": "b", "tasks": [{"a": 1, "b": 3}]}, {})
