"""What the ComfyUI engine makes of a workflow that an instance refuses; over real HTTP on loopback."""

import re
from pathlib import Path

import pytest

from corral.engines.comfyui.engine import ComfyUi
from corral.engines.comfyui.errors import InstanceLacksError, WorkflowInvalidError
from corral.engines.comfyui.filling import Changes, find_problems
from corral.work import FailureScope, Produced
from doubles.comfyui import ComfyDouble
from doubles.comfyui_nodes import error, picture
from doubles.comfyui_workflows import comfy_work, text_to_image
from doubles.remote_reports import KeptReports

FOX = picture(seed=5, prompt="a fox", width=32, height=32)


def image_of(produced: Produced) -> bytes:
    return produced.files[0].path.read_bytes()


async def test_a_missing_model_file_is_refused_with_names_like_it(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path, inputs={"set": {"4.ckpt_name": "sdxl/sd_xl_base.safetensors"}})

    with pytest.raises(InstanceLacksError) as failure:
        await engine.run(work, reports)

    (problem,) = failure.value.problems
    assert problem.code == "comfyui.value_not_in_list"
    assert problem.where == f"{comfy.url} node 4 (CheckpointLoaderSimple) input 'ckpt_name'"
    assert "did you mean 'sd_xl_base_1.0.safetensors'" in (problem.hint or "")
    assert failure.value.scope is FailureScope.HERE
    assert comfy.submissions == []


async def test_names_like_it_are_asked_for_when_the_refusal_leaves_the_list_out(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    workflow = text_to_image()
    workflow["20"] = {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["4", 0], "lora_name": "style_00.pt"}}
    workflow["3"]["inputs"]["model"] = ["20", 0]

    with pytest.raises(InstanceLacksError) as failure:
        await engine.run(comfy_work(tmp_path, inputs={"workflow": workflow}), reports)

    assert "did you mean 'style_0" in (failure.value.problems[0].hint or "")


async def test_a_class_that_is_not_installed_is_named_with_what_brings_it(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    workflow = text_to_image()
    workflow["30"] = {"class_type": "IPAdapterFancy", "inputs": {}}

    with pytest.raises(InstanceLacksError, match="IPAdapterFancy") as failure:
        await engine.run(comfy_work(tmp_path, inputs={"workflow": workflow}), reports)

    assert "custom node" in (failure.value.hint or "")


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ({"3.cfg": 1000}, "comfyui.value_bigger_than_max", "node 3 (KSampler) input 'cfg'"),
        ({"5.width": 1}, "comfyui.value_smaller_than_min", "node 5 (EmptyLatentImage) input 'width'"),
        ({"3.steps": "many"}, "comfyui.invalid_input_type", "node 3 (KSampler) input 'steps'"),
        ({"3.model": ["4"]}, "comfyui.bad_linked_input", "node 3 (KSampler) input 'model'"),
        ({"3.positive": ["4", 0]}, "comfyui.return_type_mismatch", "node 3 (KSampler) input 'positive'"),
    ],
)
async def test_a_refused_input_is_named_with_its_node(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path, change: object, code: str, place: str
) -> None:
    with pytest.raises(WorkflowInvalidError) as failure:
        await engine.run(comfy_work(tmp_path, inputs={"set": change}), reports)

    assert [(problem.code, problem.where) for problem in failure.value.problems] == [(code, f"{comfy.url} {place}")]


async def test_a_value_that_is_wrong_everywhere_is_final_although_a_model_is_missing_too(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    change = {"4.ckpt_name": "nowhere.safetensors", "3.cfg": 1000}

    with pytest.raises(WorkflowInvalidError) as failure:
        await engine.run(comfy_work(tmp_path, inputs={"set": change}), reports)

    assert [problem.code for problem in failure.value.problems] == [
        "comfyui.value_not_in_list",
        "comfyui.value_bigger_than_max",
    ]


@pytest.mark.parametrize("change", [{"3.cfg": 1000}, {"5.width": 1}, {"3.steps": "many"}])
async def test_a_hint_that_names_set_is_one_that_set_takes(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path, change: object
) -> None:
    with pytest.raises(WorkflowInvalidError) as failure:
        await engine.run(comfy_work(tmp_path, inputs={"set": change}), reports)

    hinted = re.search(r'set: \{"(.+)": ...\}', failure.value.hint or "")
    assert hinted is not None
    assert find_problems(Changes(workflow=text_to_image(), fields={}, settings={hinted[1]: 1})) == []


async def test_an_input_that_is_missing_is_added_in_the_workflow_where_set_cannot(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    workflow = text_to_image()
    del workflow["9"]["inputs"]["filename_prefix"]

    with pytest.raises(WorkflowInvalidError) as failure:
        await engine.run(comfy_work(tmp_path, inputs={"workflow": workflow}), reports)

    assert failure.value.hint == (
        "add 'filename_prefix' to the inputs of node 9 in the workflow, or export it again from this ComfyUI"
    )


@pytest.mark.parametrize(
    "kind",
    [
        "required_input_missing",
        "exception_during_validation",
        "exception_during_inner_validation",
        "dependency_cycle",
        "a_type_of_tomorrow",
    ],
)
async def test_every_kind_of_refusal_is_final_and_quotes_the_instance(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path, kind: str
) -> None:
    problem = error(kind, "It does not fit", "because of x", {"input_name": "x"})
    report = {"9": {"errors": [problem], "dependent_outputs": ["9"], "class_type": "SaveImage"}}
    comfy.faults.refuse_submission = {
        "error": error("prompt_outputs_failed_validation", "", "", {}),
        "node_errors": report,
    }

    with pytest.raises(WorkflowInvalidError) as failure:
        await engine.run(comfy_work(tmp_path), reports)

    assert failure.value.problems[0].code == f"comfyui.{kind}"
    assert failure.value.what == "It does not fit: because of x"


async def test_a_partly_refused_workflow_is_refused_as_a_whole_and_taken_back(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.hold()
    workflow = text_to_image()
    workflow["11"] = {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}}

    with pytest.raises(WorkflowInvalidError, match="filename_prefix") as failure:
        await engine.run(comfy_work(tmp_path, inputs={"workflow": workflow}), reports)

    assert failure.value.problems[0].code == "comfyui.required_input_missing"
    assert (comfy.running, comfy.pending) == (None, [])


async def test_a_partly_refused_workflow_runs_where_the_task_allows_it(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    workflow = text_to_image()
    workflow["11"] = {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}}

    produced = await engine.run(comfy_work(tmp_path, inputs={"workflow": workflow, "allow_partial": True}), reports)

    assert image_of(produced) == FOX
    assert len(produced.files) == 1
