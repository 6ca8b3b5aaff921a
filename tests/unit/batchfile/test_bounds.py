"""Batch files from other machines: what they can stand for, and what each of their tasks costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.batchfile.bounds import Bounds
from corral.batchfile.reading import BatchFileError, Read, read_batch_value
from corral.cluster.document import Document

BOUNDS = Bounds(input_bytes=20_000, needs=100)
LLAMA = {"engine": "llama", "model": "m"}


def read(*tasks: dict[str, Any], **fields: Any) -> Read:
    value = {"apiVersion": "corral/v1", "kind": "Batch", "name": "b", **fields, "tasks": list(tasks)}
    return read_batch_value(value, bounds=BOUNDS)


def problems(*tasks: dict[str, Any], **fields: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(BatchFileError) as caught:
        read(*tasks, **fields)
    return [(problem.what, problem.where) for problem in caught.value.problems]


WIDE = [("the inputs of all tasks, defaults included, have more than 20000 bytes", "tasks[0]")]


def test_inputs_are_measured_with_each_task_that_is_meant_before_one_is_made() -> None:
    long = {"prompt": "p" * 100}

    assert len(read({"name": "t", **LLAMA, "inputs": long, "count": 100}).batch.tasks) == 100
    assert problems({"name": "t", **LLAMA, "inputs": long, "count": 200}) == WIDE
    assert problems({"name": "t", "count": 200}, defaults={**LLAMA, "inputs": long}) == WIDE
    assert (
        problems({"name": "t", **LLAMA, "inputs": {"prompt": "p", "stop": ["s" * 900]}, "prompts": ["q"] * 30}) == WIDE
    )
    assert problems({"name": "t", **LLAMA, "matrix": {"prompt": ["p" * 9000, "q"], "seed": [1, 2, 3]}}) == WIDE


def test_a_list_counts_once_for_all_its_entries() -> None:
    prompts = [f"a prompt of some thirty letters {number}" for number in range(300)]

    assert len(read({"name": "t", **LLAMA, "prompts": prompts}).batch.tasks) == 300


def test_a_wildcard_counts_as_its_longest_entry() -> None:
    task = {"name": "t", **LLAMA, "inputs": {"prompt": "__word__" * 30}}

    assert read(task, wildcards={"word": ["short", "longer"]}).batch.tasks
    assert problems(task, wildcards={"word": ["short", "l" * 1000]}) == WIDE


def test_a_need_of_a_template_counts_as_the_tasks_that_it_means() -> None:
    first = {"name": "say", **LLAMA, "inputs": {"prompt": "p"}, "count": 20}
    last = {"name": "end", **LLAMA, "inputs": {"prompt": "p"}, "needs": ["say"]}

    assert len(read(first, {**last, "count": 5}).batch.tasks) == 25
    assert problems(first, {**last, "count": 6}) == [("the tasks have more than 100 needs together", "tasks[1]")]


def test_tasks_of_one_entry_share_what_they_have_in_common() -> None:
    template = {"name": "t", **LLAMA, "labels": {"project": "aurora"}, "inputs": {"stop": ["s"]}, "prompts": ["p", "q"]}
    first, second = read(template).batch.body["tasks"]

    assert first["inputs"] == {"stop": ["s"], "prompt": "p"}
    assert second["inputs"] == {"stop": ["s"], "prompt": "q"}
    assert first["labels"] is second["labels"]
    assert first["inputs"]["stop"] is second["inputs"]["stop"]


def test_what_is_wrong_with_many_tasks_of_one_entry_is_kept_once() -> None:
    document = Document("", {})
    for _ in range(3):
        document.report("batchfile.wildcard", "there is no wildcard `color`", at=("tasks", 0))

    assert len(document.problems) == 1


def test_a_thousand_problems_with_the_inputs_of_an_entry_are_enough() -> None:
    words = [f"s{number}" for number in range(1100)]
    wrong = {"name": "t", "engine": "sleep", "matrix": {"seconds": words}}
    after = {"name": "u", "engine": "sleep", "inputs": {"seconds": "soon"}}
    value = {"apiVersion": "corral/v1", "kind": "Batch", "name": "b", "tasks": [wrong, after]}
    with pytest.raises(BatchFileError) as caught:
        read_batch_value(value)

    assert [problem.where for problem in caught.value.problems] == [
        *["tasks[0].matrix.seconds"] * 1000,
        "tasks[1].inputs.seconds",
    ]


@pytest.mark.parametrize("folder", [None, Path("/folder")])
@pytest.mark.parametrize("name", ["~nobody-of-this-name/x.wav", "~a\0b/x.wav"])
def test_a_home_that_is_not_there_is_a_problem_in_its_place(name: str, folder: Path | None) -> None:
    hear = {"name": "hear", "engine": "whisper", "model": "m", "files": {"audio": {"path": name}}}
    say = {"name": "say", "engine": "piper", "model": "m", "prompts": name}
    draw = {"name": "draw", "engine": "comfyui", "inputs": {"workflow": name}}
    value = {"apiVersion": "corral/v1", "kind": "Batch", "name": "b", "tasks": [hear, say, draw]}
    with pytest.raises(BatchFileError) as caught:
        read_batch_value(value, folder)

    assert {problem.where for problem in caught.value.problems} == {
        "tasks[0].files.audio",
        "tasks[1].prompts",
        "tasks[2].inputs.workflow",
    }
    said = "reads no files" if folder is None else "the home that it begins with cannot be found"
    assert all(problem.code == "batchfile.no_file" and said in problem.what for problem in caught.value.problems)
