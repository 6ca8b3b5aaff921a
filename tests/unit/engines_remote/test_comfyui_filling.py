"""What a task asks, put into a workflow."""

from typing import Any

import pytest

from corral.engines.comfyui.errors import WorkflowInvalidError
from corral.engines.comfyui.filling import Filled, fill
from corral.engines.comfyui.inputs import ComfyUiInputs
from corral.engines.inputs import check_inputs
from doubles.comfyui_workflows import image_to_image, text_to_image


def filled(*, task: int = 1, files: tuple[str, ...] = (), **inputs: Any) -> Filled:
    asked = ComfyUiInputs.model_validate({"workflow": text_to_image(), **inputs})
    return fill(asked.list_changes(), task=task, files=files)


def value(prompt: dict[str, Any], place: str) -> Any:
    node, _, name = place.partition(".")
    return prompt[node]["inputs"][name]


def problems(**inputs: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(WorkflowInvalidError) as failure:
        filled(**inputs)
    return [(problem.code, problem.where) for problem in failure.value.problems]


def sdxl_with_refiner() -> dict[str, Any]:
    """Two samplers one after the other, as the refiner's workflow has them."""
    workflow = text_to_image()
    workflow["3"]["class_type"] = "KSamplerAdvanced"
    workflow["3"]["inputs"]["noise_seed"] = workflow["3"]["inputs"].pop("seed")
    workflow["13"] = {
        "class_type": "KSamplerAdvanced",
        "inputs": {**workflow["3"]["inputs"], "latent_image": ["3", 0], "positive": ["16", 0], "negative": ["17", 0]},
    }
    workflow["16"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["4", 1]}}
    workflow["17"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}}
    workflow["8"]["inputs"]["samples"] = ["13", 0]
    return workflow


def flux() -> dict[str, Any]:
    """The sampler of custom parts, with guidance, a linked seed, and a negative made from the prompt."""
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
        "2": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "a", "clip_name2": "b"}},
        "3": {
            "class_type": "CLIPTextEncodeFlux",
            "inputs": {"clip": ["2", 0], "clip_l": "old", "t5xxl": "old", "guidance": 3.5},
        },
        "4": {"class_type": "FluxGuidance", "inputs": {"conditioning": ["3", 0], "guidance": 3.5}},
        "5": {"class_type": "BasicGuider", "inputs": {"model": ["1", 0], "conditioning": ["4", 0]}},
        "6": {"class_type": "RandomNoise", "inputs": {"noise_seed": ["7", 0]}},
        "7": {"class_type": "PrimitiveInt", "inputs": {"value": 3}},
        "8": {"class_type": "BasicScheduler", "inputs": {"model": ["1", 0], "steps": 20, "scheduler": "simple"}},
        "9": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "10": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
        "11": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["6", 0],
                "guider": ["5", 0],
                "sampler": ["9", 0],
                "sigmas": ["8", 0],
                "latent_image": ["10", 0],
            },
        },
    }


def test_each_field_finds_its_place_through_the_sampler() -> None:
    prompt = filled(prompt="p", negative="n", seed=9, width=640, height=512, steps=30).prompt

    assert value(prompt, "6.text") == "p"
    assert value(prompt, "7.text") == "n"
    assert value(prompt, "3.seed") == 9
    assert (value(prompt, "5.width"), value(prompt, "5.height")) == (640, 512)
    assert value(prompt, "3.steps") == 30


def test_size_batch_sampler_and_scheduler_find_their_place() -> None:
    workflow = text_to_image()
    workflow["3"]["inputs"]["scheduler"] = "normal"
    prompt = filled(workflow=workflow, size="832x1216", batch=4, cfg=5.5, sampler="dpmpp_2m", scheduler="karras").prompt

    assert (value(prompt, "5.width"), value(prompt, "5.height"), value(prompt, "5.batch_size")) == (832, 1216, 4)
    assert (value(prompt, "3.cfg"), value(prompt, "3.sampler_name")) == (5.5, "dpmpp_2m")
    assert value(prompt, "3.scheduler") == "karras"


def test_fields_of_a_custom_sampler_go_to_the_nodes_that_it_is_made_of() -> None:
    prompt = filled(workflow=flux(), size="640x512", batch=2, sampler="heun", scheduler="beta").prompt

    assert (value(prompt, "10.width"), value(prompt, "10.batch_size")) == (640, 2)
    assert (value(prompt, "9.sampler_name"), value(prompt, "8.scheduler")) == ("heun", "beta")


def with_loras(*names: str) -> dict[str, Any]:
    """LoRA loaders one after the other, between checkpoint and sampler."""
    workflow = text_to_image()
    before = "4"
    for number, name in enumerate(names, 20):
        inputs = {
            "lora_name": name,
            "strength_model": 1.0,
            "strength_clip": 1.0,
            "model": [before, 0],
            "clip": ["4", 1],
        }
        workflow[str(number)] = {"class_type": "LoraLoader", "inputs": inputs}
        before = str(number)
    workflow["3"]["inputs"]["model"] = [before, 0]
    return workflow


def test_a_lora_and_its_strength_go_to_the_loader_on_the_way_of_the_model() -> None:
    prompt = filled(workflow=with_loras("old.safetensors"), lora="new.safetensors", lora_strength=0.6).prompt

    assert value(prompt, "20.lora_name") == "new.safetensors"
    assert (value(prompt, "20.strength_model"), value(prompt, "20.strength_clip")) == (0.6, 0.6)


def test_two_different_loras_are_ambiguous_and_none_is_no_place() -> None:
    assert problems(workflow=with_loras("a", "b"), lora="c") == [("comfyui.ambiguous_input", "inputs.lora")]
    assert problems(lora="c") == [("comfyui.no_input", "inputs.lora")]


def test_a_size_given_twice_or_out_of_bounds_is_refused() -> None:
    conflicts = check_inputs("comfyui", {"workflow": text_to_image(), "size": "4x512", "width": 640})

    assert [problem.what for problem in conflicts] == [
        "`size` is 4x512, and width or height is set too; keep one of the two",
        "a side has 8 to 16384 pixels, and `size` is 4x512; write one such as 832x1216",
    ]


def test_what_the_task_does_not_name_stays_as_it_was() -> None:
    assert filled().prompt == text_to_image()


def test_the_given_workflow_is_never_changed() -> None:
    workflow = text_to_image()

    filled(workflow=workflow, prompt="p", seed=1)

    assert workflow == text_to_image()


def test_places_that_say_the_same_are_set_together() -> None:
    prompt = filled(workflow=sdxl_with_refiner(), prompt="p", negative="n", seed=9, steps=12).prompt

    assert value(prompt, "6.text") == value(prompt, "16.text") == "p"
    assert value(prompt, "7.text") == value(prompt, "17.text") == "n"
    assert value(prompt, "3.noise_seed") == value(prompt, "13.noise_seed") == 9
    assert value(prompt, "3.steps") == value(prompt, "13.steps") == 12


def test_places_that_differ_are_ambiguous_and_all_named() -> None:
    workflow = sdxl_with_refiner()
    workflow["16"]["inputs"]["text"] = "sharp details"

    with pytest.raises(WorkflowInvalidError) as failure:
        filled(workflow=workflow, prompt="p")

    assert "6.text (CLIPTextEncode, now 'a fox')" in failure.value.what
    assert "16.text (CLIPTextEncode, now 'sharp details')" in failure.value.what
    assert 'set: {"6.text"' in (failure.value.hint or "")


def test_custom_samplers_are_followed_through_guider_noise_and_sigmas() -> None:
    prompt = filled(workflow=flux(), prompt="p", seed=9, steps=8, width=768).prompt

    assert value(prompt, "3.clip_l") == value(prompt, "3.t5xxl") == "p"
    assert value(prompt, "7.value") == 9
    assert value(prompt, "6.noise_seed") == ["7", 0]
    assert value(prompt, "8.steps") == 8
    assert (value(prompt, "10.width"), value(prompt, "10.height")) == (768, 1024)


def test_a_negative_made_from_the_prompt_is_never_overwritten() -> None:
    workflow = text_to_image()
    workflow["7"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}

    assert problems(workflow=workflow, negative="n") == [("comfyui.no_input", "inputs.negative")]
    assert problems(workflow=flux(), negative="n") == [("comfyui.no_input", "inputs.negative")]


def test_a_text_that_comes_from_another_node_is_set_there() -> None:
    workflow = text_to_image()
    workflow["6"]["inputs"]["text"] = ["40", 0]
    workflow["40"] = {"class_type": "PrimitiveString", "inputs": {"value": "a fox"}}

    prompt = filled(workflow=workflow, prompt="p").prompt

    assert value(prompt, "40.value") == "p"
    assert value(prompt, "6.text") == ["40", 0]


def test_set_names_the_place_itself_and_wins() -> None:
    prompt = filled(prompt="p", set={"6.text": "mine", "3.cfg": 4.5, "8.vae": ["4", 2]}).prompt

    assert value(prompt, "6.text") == "mine"
    assert value(prompt, "3.cfg") == 4.5


def test_every_problem_is_told_at_once_with_what_was_meant() -> None:
    with pytest.raises(WorkflowInvalidError) as failure:
        filled(workflow=image_to_image(), width=512, set={"6.txet": "x", "66.text": "y", "nonsense": 1}, seed=-4)

    hints = {problem.where: problem.hint for problem in failure.value.problems}
    assert hints["inputs.set.6.txet"] == "did you mean `text`?"
    assert hints["inputs.set.66.text"] == "did you mean `6`?"
    assert "inputs.set.nonsense" in hints
    assert "inputs.width" in hints
    assert "inputs.seed" in hints
    assert hints["inputs.workflow.10.image"] == "its files are: none"


def test_the_editors_format_is_refused_with_the_way_to_save_the_other() -> None:
    with pytest.raises(WorkflowInvalidError, match="editor's format") as failure:
        filled(workflow={"nodes": [], "links": [], "version": 0.4})

    assert "Export (API)" in (failure.value.hint or "")


def test_a_link_to_nowhere_is_named() -> None:
    workflow = text_to_image()
    del workflow["5"]

    assert problems(workflow=workflow) == [("comfyui.workflow_shape", "inputs.workflow.3.inputs.latent_image")]


def test_a_random_seed_is_the_same_for_each_attempt_and_another_for_each_task() -> None:
    seeds = [value(filled(task=task, seed="random").prompt, "3.seed") for task in (1, 1, 2)]

    assert seeds[0] == seeds[1] != seeds[2]
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_random_seed_can_be_written_in_the_workflow_and_in_set() -> None:
    workflow = text_to_image()
    workflow["3"]["inputs"]["seed"] = "random"
    seed = value(filled(workflow=workflow, task=1).prompt, "3.seed")

    assert isinstance(seed, int)
    assert seed != value(filled(workflow=workflow, task=2).prompt, "3.seed")
    assert isinstance(value(filled(set={"3.seed": "random"}).prompt, "3.seed"), int)


def test_a_negative_seed_in_the_workflow_means_random() -> None:
    workflow = text_to_image()
    workflow["3"]["inputs"]["seed"] = -1

    prompt = filled(task=4, workflow=workflow).prompt

    assert value(prompt, "3.seed") >= 0


def test_files_are_named_by_the_task_and_replaced_by_what_the_instance_calls_them() -> None:
    result = filled(workflow=image_to_image(), files=("portrait.png",))

    assert list(result.uploads.values()) == ["portrait.png"]
    assert value(result.name_uploads({"portrait.png": "portrait (1).png"}), "10.image") == "portrait (1).png"


def test_a_file_may_be_put_anywhere_by_set() -> None:
    result = filled(
        workflow=image_to_image(), set={"10.image": {"file": "other.png"}}, files=("portrait.png", "other.png")
    )

    assert [(str(place), name) for place, name in result.uploads.items()] == [("10.image", "other.png")]


def test_the_checkpoint_of_the_workflow_is_its_model() -> None:
    assert filled().models == ("sd_xl_base_1.0.safetensors",)
    assert filled(workflow=flux()).models == ("flux1-dev.safetensors",)


def test_a_workflow_that_goes_in_circles_does_not_stop_the_search() -> None:
    workflow = text_to_image()
    workflow["6"] = {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0]}}

    assert problems(workflow=workflow, prompt="p") == [("comfyui.no_input", "inputs.prompt")]


def test_what_does_not_fit_is_told_when_the_task_is_submitted() -> None:
    given = {"workflow": text_to_image(), "set": {"6.txet": "x"}, "outputs": "saved"}

    (problem,) = check_inputs("comfyui", given)

    assert "'6.txet'" in problem.what
    assert "did you mean `text`" in problem.what


def test_files_are_not_asked_for_before_the_task_has_them() -> None:
    assert check_inputs("comfyui", {"workflow": image_to_image()}) == []
