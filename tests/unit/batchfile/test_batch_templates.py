"""Batch files that say a task once and mean it several times, and files whose content they take in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corral.batchfile.drawing import draw
from corral.batchfile.reading import BatchFileError, Read, read_batch
from corral.errors import Problem
from doubles.comfyui_workflows import text_to_image

HEAD = "apiVersion: corral/v1\nkind: Batch\nname: b\n"
LLAMA = "engine: llama, model: m"


def read(text: str, folder: Path = Path("/folder")) -> Read:
    return read_batch(HEAD + text, filename="b.yaml", folder=folder)


def problems(text: str, folder: Path = Path("/folder")) -> list[tuple[str, str | None]]:
    with pytest.raises(BatchFileError) as caught:
        read(text, folder)
    return [(problem.what, problem.where) for problem in caught.value.problems]


def drawn(text: str, *, key: str = "k", folder: Path = Path("/folder")) -> list[dict[str, Any]]:
    """Return the inputs of each task as they are submitted, those of the defaults included."""
    batch = read(text, folder).batch
    request = draw(batch.request({}), batch.wildcards, key)
    common = request.get("defaults", {}).get("inputs", {})
    return [{**common, **task.get("inputs", {})} for task in request["tasks"]]


def test_a_workflow_is_read_from_its_file_and_sent_once_for_all_tasks(tmp_path: Path) -> None:
    (tmp_path / "portrait.json").write_text(json.dumps(text_to_image()))
    text = "tasks:\n- {name: a, engine: comfyui, count: 20, inputs: {workflow: ./portrait.json, prompt: a fox}}\n"

    body = read(text, tmp_path).batch.request({})

    assert body["defaults"] == {"inputs": {"workflow": text_to_image()}}
    assert all("workflow" not in task["inputs"] for task in body["tasks"])


def test_a_workflow_of_the_defaults_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(json.dumps(text_to_image()))
    text = "defaults: {engine: comfyui, inputs: {workflow: w.json}}\ntasks:\n- {name: a}\n- {name: c}\n"

    assert [inputs["workflow"] for inputs in drawn(text, folder=tmp_path)] == [text_to_image()] * 2


def test_files_that_cannot_be_used_are_all_reported_at_their_line(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"3":\n  nonsense}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    text = (
        "tasks:\n"
        "- {name: a, engine: comfyui, inputs: {workflow: ./broken.json}}\n"
        "- {name: c, engine: comfyui, inputs: {workflow: ./list.json}}\n"
        "- {name: d, engine: comfyui, inputs: {workflow: ./gone.json}}\n"
        f"- {{name: e, {LLAMA}, prompts: ./empty.txt}}\n"
    )

    assert problems(text, tmp_path) == [
        (f"{tmp_path}/broken.json:2:3: the file is not JSON: expecting value", "b.yaml:5:49 tasks[0].inputs.workflow"),
        (f"{tmp_path}/list.json: the file is JSON without an object", "b.yaml:6:49 tasks[1].inputs.workflow"),
        (
            f"{tmp_path}/gone.json: the file cannot be read: No such file or directory",
            "b.yaml:7:49 tasks[2].inputs.workflow",
        ),
        ("./empty.txt has no lines", "b.yaml:8:47 tasks[3].prompts"),
    ]


def test_there_is_a_task_for_each_prompt_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red fox\n\n# later\n  a blue one \n")
    batch = read(f"tasks:\n- {{name: write, {LLAMA}, prompts: ./prompts.txt}}\n", tmp_path).batch

    assert [(task.name, task.body["inputs"]) for task in batch.tasks] == [
        ("write-1", {"prompt": "a red fox"}),
        ("write-2", {"prompt": "a blue one"}),
    ]


def test_prompts_are_what_a_voice_says() -> None:
    assert drawn("tasks:\n- {name: say, engine: piper, model: m, prompts: [one, two]}\n") == [
        {"text": "one"},
        {"text": "two"},
    ]


def test_prompts_matrix_and_count_are_multiplied_in_the_order_of_the_file() -> None:
    text = (
        f"defaults: {{{LLAMA}, inputs: {{seed: 1}}}}\n"
        "tasks:\n- {name: t, prompts: [p, q], matrix: {max_tokens: [8, 16], temperature: [0, 1]}, count: 2}\n"
    )
    inputs = drawn(text)

    assert len(inputs) == 16
    assert [(task["prompt"], task["max_tokens"], task["temperature"]) for task in inputs[:10:2]] == [
        ("p", 8, 0),
        ("p", 8, 1),
        ("p", 16, 0),
        ("p", 16, 1),
        ("q", 8, 0),
    ]
    assert [task.name for task in read(text).batch.tasks][::15] == ["t-01", "t-16"]


def test_an_entry_of_the_matrix_can_be_a_node_input(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(json.dumps(text_to_image()))
    text = (
        "defaults: {engine: comfyui, inputs: {workflow: ./w.json, set: {9.filename_prefix: x}}}\n"
        "tasks:\n- {name: t, matrix: {set.3.cfg: [5, 7]}}\n"
    )

    assert [inputs["set"] for inputs in drawn(text, folder=tmp_path)] == [
        {"9.filename_prefix": "x", "3.cfg": 5},
        {"9.filename_prefix": "x", "3.cfg": 7},
    ]


def test_what_is_counted_gets_a_seed_of_its_own_unless_one_is_written() -> None:
    seeds = [inputs["seed"] for inputs in drawn(f"tasks:\n- {{name: t, {LLAMA}, inputs: {{prompt: p}}, count: 50}}\n")]
    fixed = drawn(f"tasks:\n- {{name: t, {LLAMA}, inputs: {{prompt: p, seed: 4}}, count: 3}}\n")
    nested = drawn("tasks:\n- {name: t, engine: ollama, model: m, inputs: {prompt: p}, count: 2}\n")

    assert len(set(seeds)) == 50
    assert [inputs["seed"] for inputs in fixed] == [4, 4, 4]
    assert nested[0]["options"]["seed"] != nested[1]["options"]["seed"]


def test_a_random_seed_of_the_defaults_is_another_for_each_task_and_the_same_for_a_key() -> None:
    text = (
        f"defaults: {{{LLAMA}, inputs: {{prompt: p, seed: random}}}}\n"
        "tasks:\n- {name: a}\n- {name: c}\n- {name: d, inputs: {seed: 3}}\n"
    )
    first, second, third = (inputs["seed"] for inputs in drawn(text))

    assert first != second
    assert third == 3
    assert [inputs["seed"] for inputs in drawn(text)] == [first, second, 3]
    assert [inputs["seed"] for inputs in drawn(text, key="another")] != [first, second, 3]


def test_wildcards_are_drawn_for_each_task_from_lists_and_files(tmp_path: Path) -> None:
    (tmp_path / "animals.txt").write_text("fox\nowl\n")
    text = (
        "wildcards: {colour: [red, green, blue], animal: ./animals.txt}\n"
        f"defaults: {{{LLAMA}, inputs: {{prompt: a __colour__ __animal__}}}}\n"
        "tasks:\n- {name: t, count: 60}\n"
    )
    prompts = {inputs["prompt"] for inputs in drawn(text, folder=tmp_path)}

    assert prompts == {f"a {colour} {animal}" for colour in ("red", "green", "blue") for animal in ("fox", "owl")}


def test_a_wildcard_that_is_not_there_is_named_and_underscores_alone_are_text() -> None:
    text = f"tasks:\n- {{name: t, {LLAMA}, inputs: {{prompt: what is __init__}}}}\n"

    assert drawn(text)[0]["prompt"] == "what is __init__"
    assert problems(f"wildcards: {{colour: [red]}}\n{text.replace('init', 'color')}") == [
        ("there is no wildcard `color`", "b.yaml:6:55 tasks[0].inputs.prompt")
    ]


def test_a_wrong_value_of_a_matrix_is_reported_once_at_the_matrix() -> None:
    text = f"tasks:\n- {{name: t, {LLAMA}, prompts: [p, q], matrix: {{max_tokens: [8, many]}}}}\n"

    assert [where for _, where in problems(text)] == ["b.yaml:5:76 tasks[0].matrix.max_tokens"]


def test_a_need_of_a_template_is_a_need_of_all_its_tasks_and_a_file_names_one() -> None:
    text = "tasks:\n- {name: say, engine: piper, model: m, prompts: [a, b]}\n"
    last = f"- {{name: end, {LLAMA}, needs: [say], inputs: {{prompt: p}}}}\n"
    hear = "- {name: hear, engine: whisper, model: m, files: {audio: say/speech.wav}}\n"

    assert read(text + last).batch.tasks[2].body["needs"] == ["say-1", "say-2"]
    assert read(text + hear.replace("say/", "say-2/")).batch.tasks[2].body["files"]["audio"]["task"] == "say-2"
    assert problems(text + hear) == [
        ("`say` stands for 2 tasks, and a file comes from one", "b.yaml:6:58 tasks[1].files.audio")
    ]


def test_more_tasks_than_a_batch_has_are_refused_before_they_are_made() -> None:
    text = f"tasks:\n- {{name: t, {LLAMA}, inputs: {{prompt: p}}, matrix: {{seed: [1, 2]}}, count: 9999}}\n"

    assert problems(text) == [("prompts, matrices and counts make 19998 tasks, more than 10000", "b.yaml:5:1 tasks")]


def test_what_cannot_be_listed_is_refused_with_the_way_to_write_it() -> None:
    text = f"tasks:\n- {{name: t, {LLAMA}, prompts: prompts.txt, matrix: {{seed: []}}, count: 0}}\n"

    assert [what for what, _ in problems(text)] == [
        "not a list: 'prompts.txt'",
        "the list is empty",
        "must be at least 1, found 0",
    ]


def test_an_engine_without_a_prompt_takes_none() -> None:
    text = "tasks:\n- {name: t, engine: sleep, inputs: {seconds: 1}, prompts: [p]}\n"

    assert ("the engine sleep takes no prompt", "b.yaml:5:59 tasks[0].prompts") in problems(text)


def test_a_problem_that_the_server_finds_is_shown_at_the_task_it_was_made_from() -> None:
    batch = read(f"tasks:\n- {{name: t, {LLAMA}, prompts: [p, q]}}\n- {{name: u, {LLAMA}, inputs: {{prompt: p}}}}\n")
    error = batch.make_error((Problem(code="c", what="w", where="tasks[2] (u).queue"),))

    assert error.problems[0].where == "b.yaml:6:3 tasks[1].queue"


# --- places beside a workflow ---------------------------------------------------------------------------------------


def test_a_file_beside_a_workflow_adds_places_to_it(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "portrait.json").write_text(json.dumps(text_to_image()))
    (tmp_path / "flows" / "portrait.yaml").write_text(
        "workflow: ./portrait.json\nplaces:\n  side: [5.width, 5.height]\n"
    )
    text = "tasks:\n- {name: a, engine: comfyui, matrix: {set.side: [64, 128]}, inputs: {workflow: flow}}\n"

    body = read(text.replace("flow}", "./flows/portrait.yaml}"), tmp_path).batch.body

    assert body["defaults"]["inputs"]["workflow"] == {**text_to_image(), "places": {"side": ["5.width", "5.height"]}}
    assert [task["inputs"]["set"] for task in body["tasks"]] == [{"side": 64}, {"side": 128}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("workflow: ./portrait.json\nplace: {seed: 3.seed}\n", "has an unknown entry `place` next to `workflow`"),
        ("workflow: ./missing.json\n", "cannot be read"),
        ("places: [\n", "is not YAML"),
        ("- a\n", "is YAML without an object"),
    ],
)
def test_a_file_beside_a_workflow_that_cannot_be_used_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "portrait.json").write_text(json.dumps(text_to_image()))
    (tmp_path / "beside.yaml").write_text(content)

    with pytest.raises(BatchFileError, match=said):
        read("tasks:\n- {name: a, engine: comfyui, inputs: {workflow: ./beside.yaml}}\n", tmp_path)
