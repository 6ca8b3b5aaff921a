"""What Corral relies on where ComfyUI refuses a workflow (instances: `conftest`)."""

from __future__ import annotations

import json

import pytest

from doubles.comfyui_client import Instance, Json, image, long_chain

# ---- refusals


def refuse(**changes: Json) -> dict[str, Json]:
    """The plain workflow with inputs of its first node changed."""
    prompt = image()
    prompt["1"]["inputs"] |= changes
    return prompt


def output(class_type: str, **inputs: Json) -> dict[str, Json]:
    """The plain workflow with another output node."""
    return image() | {"2": {"class_type": class_type, "inputs": inputs}}


LOADED = {"3": {"class_type": "LoadImage", "inputs": {"image": "is-not-there.png"}}}


async def read_refusal(comfy: Instance, prompt: Json) -> Json:
    _, status, answer = await comfy.submit(prompt)
    assert status == 400
    assert {"type", "message", "details", "extra_info"} <= answer["error"].keys()
    return answer


REFUSED: list[tuple[Json, str, str, str]] = [
    (refuse(width=0), "1", "value_smaller_than_min", "width"),
    (refuse(width=99999), "1", "value_bigger_than_max", "width"),
    (refuse(width="wide"), "1", "invalid_input_type", "width"),
    (refuse(width=["1"]), "1", "bad_linked_input", "width"),
    (output("SaveImage", images=["1", 0]), "2", "required_input_missing", "filename_prefix"),
    (output("SaveLatent", samples=["1", 0], filename_prefix="x"), "2", "return_type_mismatch", "samples"),
    (output("PreviewImage", images=["3", 0]) | LOADED, "3", "custom_validation_failed", "image"),
]


@pytest.mark.parametrize(("prompt", "node", "kind", "named"), REFUSED, ids=[case[2] for case in REFUSED])
async def test_a_refused_input_is_named(comfy: Instance, prompt: Json, node: str, kind: str, named: str) -> None:
    answer = await read_refusal(comfy, prompt)

    assert answer["error"]["type"] == "prompt_outputs_failed_validation"
    assert [error["type"] for error in answer["node_errors"][node]["errors"]] == [kind]
    assert answer["node_errors"][node]["errors"][0]["extra_info"]["input_name"] == named


async def test_a_value_that_is_not_in_a_list_comes_with_the_list(comfy: Instance) -> None:
    prompt = long_chain(1)
    prompt["scale0"]["inputs"]["upscale_method"] = "magic"
    answer = await read_refusal(comfy, prompt)

    (problem,) = answer["node_errors"]["scale0"]["errors"]
    assert problem["type"] == "value_not_in_list"
    assert problem["extra_info"]["received_value"] == "magic"
    assert "bilinear" in json.dumps(problem["extra_info"]["input_config"])


async def test_every_problem_of_a_workflow_is_reported(comfy: Instance) -> None:
    prompt = long_chain(1)
    prompt["1"]["inputs"] |= {"width": 0, "color": -1}
    prompt["scale0"]["inputs"]["crop"] = "everything"
    answer = await read_refusal(comfy, prompt)

    kinds = {node: len(report["errors"]) for node, report in answer["node_errors"].items()}
    assert kinds == {"1": 2, "scale0": 1}


async def test_a_class_that_is_not_installed_is_named(comfy: Instance) -> None:
    prompt = image() | {"3": {"class_type": "CorralHasNoSuchNode", "inputs": {}}}
    answer = await read_refusal(comfy, prompt)

    assert answer["error"]["type"] in ("invalid_prompt", "missing_node_type")
    assert "CorralHasNoSuchNode" in answer["error"]["message"]
    assert not answer["node_errors"]


async def test_a_workflow_that_saves_nothing_is_refused(comfy: Instance) -> None:
    prompt = image()
    del prompt["2"]

    assert (await read_refusal(comfy, prompt))["error"]["type"] == "prompt_no_outputs"


async def test_a_link_to_nothing_is_an_exception_of_the_validation(comfy: Instance) -> None:
    prompt = image()
    prompt["2"]["inputs"]["images"] = ["99", 0]
    answer = await read_refusal(comfy, prompt)

    assert [error["type"] for error in answer["node_errors"]["2"]["errors"]] == ["exception_during_validation"]


async def test_a_cycle_is_refused(comfy: Instance) -> None:
    prompt = long_chain(2)
    prompt["scale0"]["inputs"]["image"] = ["scale1", 0]
    answer = await read_refusal(comfy, prompt)

    kinds = {error["type"] for report in answer["node_errors"].values() for error in report["errors"]}
    assert kinds <= {"dependency_cycle", "exception_during_inner_validation", "exception_during_validation"}
    assert kinds


async def test_outputs_that_can_run_do_although_others_are_refused(comfy: Instance) -> None:
    prompt = image() | {"3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}
    prompt_id, status, answer = await comfy.submit(prompt)

    assert status == 200
    assert list(answer["node_errors"]) == ["3"]
    assert list((await comfy.wait(prompt_id))["outputs"]) == ["2"]
