"""A workflow names its places, and tasks set them by name."""

from __future__ import annotations

from typing import Any

import pytest

from corral.engines.comfyui.editor.conversion import convert
from corral.engines.comfyui.filling import fill
from corral.engines.comfyui.inputs import ComfyUiInputs
from corral.engines.comfyui.places import MAX_INPUTS, MAX_PLACES
from corral.engines.inputs import check_inputs
from doubles.comfyui_editor import DESCRIBED
from doubles.comfyui_editor import text_to_image as drawn
from doubles.comfyui_workflows import text_to_image

Json = Any


def with_places(**places: Json) -> dict[str, Json]:
    return {**text_to_image(), "places": places}


def prompt_of(workflow: dict[str, Json], **inputs: Json) -> dict[str, Json]:
    """Return what is sent to an instance."""
    asked = ComfyUiInputs.model_validate({"workflow": workflow, **inputs})
    return fill(asked.list_changes(), task=1, files=()).prompt


def inputs_of(workflow: dict[str, Json], **inputs: Json) -> dict[str, Json]:
    return {
        f"{node}.{name}": value
        for node, content in prompt_of(workflow, **inputs).items()
        for name, value in content["inputs"].items()
    }


def problems(workflow: dict[str, Json], **inputs: Json) -> str:
    return "\n".join(problem.what for problem in check_inputs("comfyui", {"workflow": workflow, **inputs}))


def test_a_place_that_the_workflow_names_goes_before_the_rules() -> None:
    set_by_rule = inputs_of(text_to_image(), prompt="a hen")
    set_by_place = inputs_of(with_places(prompt="7.text", seed="5.batch_size"), prompt="a hen", seed=3)

    assert (set_by_rule["6.text"], set_by_rule["7.text"]) == ("a hen", "blurry")
    assert (set_by_place["6.text"], set_by_place["7.text"]) == ("a fox", "a hen")
    assert (set_by_place["5.batch_size"], set_by_place["3.seed"]) == (3, 5)


def test_a_place_of_several_inputs_sets_all_of_them() -> None:
    inputs = inputs_of(
        with_places(side=["5.width", "5.height"], words=["6.text", "7.text"]), set={"side": 64, "words": "x"}
    )

    assert [inputs[name] for name in ("5.width", "5.height", "6.text", "7.text")] == [64, 64, "x", "x"]


def test_an_input_that_is_set_by_its_own_name_wins_over_a_place() -> None:
    inputs = inputs_of(with_places(seed="3.seed"), seed=8, set={"3.seed": 9})

    assert inputs["3.seed"] == 9


def test_a_seed_at_a_place_can_be_random_and_is_checked() -> None:
    workflow = with_places(seed="3.seed")

    assert isinstance(inputs_of(workflow, seed="random")["3.seed"], int)
    assert "a seed is a number from 0" in problems(workflow, seed=-3)


def test_places_are_not_sent_to_an_instance() -> None:
    assert prompt_of(with_places(seed="3.seed")).keys() == text_to_image().keys()


def test_every_place_that_leads_nowhere_is_named() -> None:
    listed = check_inputs(
        "comfyui",
        {"workflow": with_places(seed="33.seed", steps=["3.step", "3.steps"], **{"a.b": "3.seed"}), "set": {"sede": 1}},
    )

    assert [problem.what for problem in listed] == [
        "the workflow has no input '33.seed' (inputs.workflow.places.seed); did you mean `3`?",
        "the workflow has no input '3.step' (inputs.workflow.places.steps); did you mean `steps`?",
        "'a.b' is not the name of a place (inputs.workflow.places.a.b);"
        " write up to 64 letters, digits, _ and -, a letter first",
        "the workflow has no place 'sede' (inputs.set.sede); did you mean `seed`?",
    ]


@pytest.mark.parametrize(
    "places",
    [
        ["3.seed"],
        "3.seed",
        {"seed": []},
        {"seed": 3},
        {"seed": ["3.seed"] * (MAX_INPUTS + 1)},
        {f"p{n}": "3.seed" for n in range(MAX_PLACES + 1)},
    ],
    ids=["list", "text", "empty", "number", "many inputs", "many places"],
)
def test_what_are_not_places_is_refused(places: Json) -> None:
    assert "places" in str(check_inputs("comfyui", {"workflow": {**text_to_image(), "places": places}}))


def test_a_field_in_set_that_the_workflow_has_no_place_for_is_pointed_to_its_input() -> None:
    assert "write `prompt` as an input of its own" in problems(text_to_image(), set={"prompt": "x"})


@pytest.mark.parametrize(
    "entry",
    [{"places": {"strength": "3.denoise"}}, {"extra": {"places": {"strength": "3.denoise"}}}],
    ids=["beside nodes", "kept by the editor"],
)
def test_places_of_a_workflow_of_the_editor_come_along(entry: Json) -> None:
    converted = convert({**drawn(), **entry}, DESCRIBED).workflow

    assert inputs_of(converted, set={"strength": 0.4})["3.denoise"] == 0.4
