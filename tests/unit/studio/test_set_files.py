"""A set file: what it stands for, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from corral.studio.quality.deciding import Bound
from corral.studio.sets.expanding import MOST_PICTURES, SetError, derive_seed, expand, list_changes
from corral.studio.sets.places import fill, fill_seed
from corral.studio.sets.reading import SetFileError, open_set_file, read_set_value
from corral.studio.sets.values import WantedPicture
from doubles.comfyui_workflows import text_to_image
from doubles.picture_sets import a_set, list_characters


def expanded(*characters: Mapping[str, Any], **changed: Any) -> tuple[WantedPicture, ...]:
    return expand(read_set_value(a_set(**changed)), characters)


def test_a_set_stands_for_every_combination_with_keys_that_tell_them_apart() -> None:
    pictures = expanded(variants={"day": "by day", "night": "by night"})

    assert len(pictures) == 2 * 2 * 2 * 2
    assert [picture.key for picture in pictures[:3]] == [
        "queen-01/portrait/day/1",
        "queen-01/portrait/day/2",
        "queen-01/portrait/night/1",
    ]
    assert len({picture.first_seed for picture in pictures}) == len(pictures)
    assert len({picture.digest for picture in pictures}) == len(pictures)


def test_a_task_has_its_values_in_the_places_of_their_names_and_a_seed_that_is_a_number() -> None:
    first = expanded()[0]

    task = fill_seed(first.task, 7)

    assert task["inputs"]["prompt"] == "look 1, head and shoulders"
    assert task["inputs"]["seed"] == 7
    assert task["inputs"]["workflow"] == text_to_image()


def test_braces_that_are_no_places_are_left() -> None:
    assert fill("{a|b} {shot} {character.look}", {"shot": "smile"}) == "{a|b} smile {character.look}"


def test_the_same_file_gives_the_same_pictures_on_any_day() -> None:
    assert expanded() == expanded()
    assert derive_seed("night", "queen-01/portrait/1", 0) == 4085665162, "seeds of sets that exist do not move"


def test_given_seeds_are_those_of_the_pictures() -> None:
    assert [picture.first_seed for picture in expanded(characters=list_characters(1), seeds=[5, 9])] == [5, 9, 5, 9]


def test_a_changed_look_changes_the_digest_and_says_which_input_it_was() -> None:
    before = expanded()[0]
    after = expanded(characters=[{"name": "queen-01", "look": "green eyes"}])[0]

    assert before.key == after.key
    assert before.digest != after.digest
    assert list_changes(before.sources, after.sources) == ("character.look",)


def test_a_changed_workflow_is_named() -> None:
    file = a_set()
    file["task"]["inputs"]["workflow"]["3"]["inputs"]["steps"] = 30

    before, after = expanded()[0], expand(read_set_value(file), ())[0]

    assert list_changes(before.sources, after.sources) == ("task.inputs.workflow",)


def test_pictures_know_the_settings_that_they_are_grouped_by() -> None:
    assert expanded()[0].settings == {
        "character": "queen-01",
        "shot": "portrait",
        "model": "sd_xl_base_1.0.safetensors",
        "sampler": "euler",
    }


def test_all_characters_of_the_owner_are_taken_by_their_names() -> None:
    pictures = expanded({"name": "mira", "look": "blue"}, {"name": "ada", "look": "red"}, characters="all", seeds=1)

    assert [picture.key for picture in pictures] == ["ada/portrait/1", "ada/smile/1", "mira/portrait/1", "mira/smile/1"]


def test_every_problem_of_a_set_with_its_characters_is_reported_at_once() -> None:
    file = a_set(characters=["ada", "mria", {"name": "zoe", "age": 3}])
    with pytest.raises(SetError) as caught:
        expand(read_set_value(file), [{"name": "ada", "look": "red"}, {"name": "mira"}])

    assert [(problem.where, problem.what) for problem in caught.value.problems] == [
        ("characters[1]", "there is no character 'mria'"),
        ("task", "`{character.look}` has no value for zoe"),
    ]
    assert caught.value.problems[0].hint == "did you mean `mira`?"


def test_a_set_of_too_many_pictures_is_refused() -> None:
    with pytest.raises(SetError, match=f"more than {MOST_PICTURES}"):
        expanded(characters=list_characters(100), seeds=1000)


def test_every_problem_of_a_file_is_reported_at_once_with_its_place() -> None:
    file = a_set(
        characters=["a/b"],
        shot={},
        seeds=[1, 1],
        thresholds={"sharpnes": {"least": 1}, "width": {"least": 9, "most": 3}},
        distance=65,
    )
    with pytest.raises(SetFileError) as shape:
        read_set_value(file)
    for key in ("shot", "distance"):
        del file[key]
    with pytest.raises(SetFileError) as checks:
        read_set_value({**file, "characters": "all", "seeds": 1})

    assert {problem.where for problem in shape.value.problems} == {"characters", "shot", "seeds", "distance"}
    assert {problem.where for problem in checks.value.problems} == {"thresholds.sharpnes", "thresholds.width"}
    assert all(problem.code.startswith("setfile.") for problem in (*shape.value.problems, *checks.value.problems))


def test_a_threshold_on_a_measure_that_no_check_has_is_reported_before_pictures_are_made() -> None:
    checks = [{"engine": "inspect"}, {"engine": "onnx", "model": "nudenet-320n"}]

    assert read_set_value(a_set(checks=checks, thresholds={"face_score": {"least": 0.5}})).thresholds
    with pytest.raises(SetFileError, match="did you mean `face_score`"):
        read_set_value(a_set(checks=checks, thresholds={"face_scor": {"least": 0.5}}))
    scored = [*checks, {"engine": "openai", "model": "scores"}]
    assert read_set_value(a_set(checks=scored, thresholds={"fidelity": {"least": 0.5}})).thresholds


def test_a_picture_that_is_checked_has_to_be_decodable() -> None:
    assert read_set_value(a_set()).thresholds == {"decodable": Bound(least=1)}
    assert read_set_value(a_set(checks=[])).thresholds == {}


def test_a_workflow_of_this_machine_takes_the_place_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "portrait.json").write_text(json.dumps(text_to_image()))
    file = a_set()
    file["task"]["inputs"]["workflow"] = "./portrait.json"
    (tmp_path / "set.yaml").write_text(json.dumps(file))

    assert open_set_file(tmp_path / "set.yaml") == a_set()


def test_a_workflow_that_is_not_there_is_reported_at_its_place(tmp_path: Path) -> None:
    file = a_set()
    file["task"]["inputs"]["workflow"] = "./portrait.json"
    (tmp_path / "set.yaml").write_text(json.dumps(file))

    with pytest.raises(SetFileError, match="cannot be read"):
        open_set_file(tmp_path / "set.yaml")
