"""A recipe, its options, its data set and its launch are right before a device is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corral.engine_kinds import TRAINER
from corral.engines.inputs import check_inputs
from corral.engines.trainer.checkpoints import (
    end_task,
    list_checkpoints,
    name_folder,
    note_step,
    read_journal,
    remove_outlived,
    write_checkpoint,
)
from corral.engines.trainer.datasets import DataSetError, Example, read_examples
from corral.engines.trainer.gguf_adapter import permute
from corral.engines.trainer.launching import Card, choose_precision, make_launch, make_launch_environment
from corral.engines.trainer.recipe_files import read_recipes
from corral.work import Json

AMPERE = Card(name="NVIDIA GeForce RTX 3090", capability=(8, 6))
TURING = Card(name="Quadro RTX 6000", capability=(7, 5))
PASCAL = Card(name="NVIDIA GeForce GTX 1080", capability=(6, 1))


def list_problems(**inputs: Json) -> list[str]:
    return [problem.what for problem in check_inputs(TRAINER.name, {"recipe": "lm-lora", **inputs})]


def test_every_default_of_every_recipe_is_allowed() -> None:
    for recipe in read_recipes().values():
        assert list(recipe.find_problems(recipe.fill_in({}))) == []


def test_all_problems_of_options_are_reported_at_once() -> None:
    options = {"rank": 0, "steps": 1.5, "modules": "all", "ranck": 8, "batch_size": True}

    problems = " | ".join(list_problems(options=options, register_as="Not A Name"))

    assert "'options.rank' is 0, and the least is 1" in problems
    assert "'options.steps' is 1.5, not a whole number" in problems
    assert "'options.modules' is 'all', not one of" in problems
    assert "'options.ranck' is not an option of lm-lora: did you mean `rank`?" in problems
    assert "batch_size" in problems
    assert "should match pattern" in problems


def test_unknown_recipe_names_the_one_that_is_meant() -> None:
    assert list_problems(recipe="lm-loar") == ["'recipe' is 'lm-loar': did you mean `lm-lora`?"]


def test_all_problems_of_a_data_set_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    lines = ('{"prompt": "a", "answer": "b"}', "", "{", '{"prompt": ""}', '{"prompt": "a", "answer": "b", "c": 1}')
    path.write_text("\n".join(lines))

    with pytest.raises(DataSetError) as raised:
        read_examples(path)

    assert [problem.partition(": ")[0] for problem in raised.value.problems] == ["line 3", "line 4", "line 4", "line 5"]
    path.write_text(lines[0])
    assert read_examples(path) == (Example(prompt="a", answer="b"),)


def test_data_set_without_an_example_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text("\n\n")

    with pytest.raises(DataSetError, match="has no examples"):
        read_examples(path)


def test_checkpoint_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "state.pt").write_text("whole")

    def be_cut_off(folder: Path) -> None:
        (folder / "state.pt").write_text("ha")
        raise KeyboardInterrupt

    for step in (5, 10, 15):
        write_checkpoint(tmp_path, step, write)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, 20, be_cut_off)

    assert [step for step, _ in list_checkpoints(tmp_path)] == [15, 10]
    assert (list_checkpoints(tmp_path)[0][1] / "state.pt").read_text() == "whole"


def test_checkpoints_are_kept_for_a_day_after_the_end_and_for_two_weeks_without_one(
    tmp_path: Path,
) -> None:
    folders = ended, _ = tmp_path / "task-1-a", tmp_path / "task-2-b"
    for folder in folders:
        for step in (5, 10):
            write_checkpoint(folder, step, lambda made: (made / "state.pt").touch())
    end_task(ended)
    written = ended.stat().st_mtime
    assert [step for step, _ in list_checkpoints(ended)] == [10]

    hours = 3600.0
    kept = {}
    for after in (23, 25, 13 * 24, 15 * 24):
        remove_outlived(tmp_path, written + after * hours)
        kept[after] = [folder.exists() for folder in folders]
    assert kept == {23: [True, True], 25: [False, True], 13 * 24: [False, True], 15 * 24: [False, False]}


def test_folder_of_a_task_is_another_where_anything_of_its_training_is_another() -> None:
    trained = (7, "lm-lora", "base", {"steps": 4}, b"data")
    others = [(8, *trained[1:]), (*trained[:2], "other", *trained[3:]), (*trained[:3], {"steps": 5}, b"data")]
    names = {name_folder(*what) for what in (trained, trained, *others, (*trained[:4], b"more"))}

    assert len(names) == 5


def test_line_of_the_journal_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    note_step(tmp_path, 1, 2.5)
    note_step(tmp_path, 2, 2.25)
    with (tmp_path / "journal").open("a") as file:
        file.write("3 2.")

    assert read_journal(tmp_path) == [(1, 2.5), (2, 2.25)]


@pytest.mark.parametrize(
    ("cards", "precision"), [([AMPERE], "bf16"), ([AMPERE, TURING], "fp16"), ([TURING, PASCAL], "no"), ([], "no")]
)
def test_precision_is_what_all_cards_have(cards: list[Card], precision: str) -> None:
    assert choose_precision(cards) == precision


def test_gpus_are_launched_by_accelerate_and_processors_by_torch() -> None:
    on_gpus = make_launch("python", 2, [AMPERE, AMPERE], ("train.py", "config.json"))
    on_processors = make_launch("python", 2, [], ("train.py", "config.json"))

    assert on_gpus[:6] == ("python", "-P", "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes")
    assert on_gpus[on_gpus.index("--mixed_precision") + 1] == "bf16"
    assert "torch.distributed.run" in on_processors
    assert on_gpus[-2:] == on_processors[-2:] == ("train.py", "config.json")


def test_only_several_geforce_cards_lose_access_to_each_other() -> None:
    assert make_launch_environment([AMPERE, AMPERE])["NCCL_P2P_DISABLE"] == "1"
    assert "NCCL_P2P_DISABLE" not in make_launch_environment([AMPERE])
    assert "NCCL_P2P_DISABLE" not in make_launch_environment([TURING, TURING])


def test_rows_of_a_projection_are_in_the_order_of_llama_cpp() -> None:
    """As `permute` of llama.cpp's conversion of LlamaForCausalLM orders them: halves of a head become neighbours."""
    rows = np.arange(8).reshape(8, 1)

    assert permute(rows, 2).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
