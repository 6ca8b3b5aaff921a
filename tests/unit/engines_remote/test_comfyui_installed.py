"""What a workflow needs, compared with what an instance describes in `/object_info`."""

from __future__ import annotations

from typing import Any

from corral.engines.comfyui.installed import MAX_LACKS, MAX_SUGGESTIONS, Installed, list_needs, read_installed
from corral.engines.surveying import Need
from doubles.comfyui_nodes import NODES, object_info
from doubles.comfyui_workflows import text_to_image

MODEL = "sd_xl_base_1.0.safetensors"


def described(*lacks: str) -> dict[str, Any]:
    return {name: node for entry in (object_info(name, lacks=lacks) for name in NODES) for name, node in entry.items()}


def missing(info: dict[str, Any], **inputs: Any) -> list[tuple[str, str, str | None]]:
    needs = list_needs({"workflow": text_to_image(), **inputs})
    (problems,) = read_installed(info).find_missing([needs])
    return [(problem.code, problem.what, problem.where) for problem in problems]


def test_nothing_is_missing_where_the_instance_has_every_type_and_file() -> None:
    assert missing(described()) == []


def test_every_missing_type_and_model_is_named_with_its_node() -> None:
    assert missing(described("KSampler", MODEL)) == [
        ("comfyui.missing_node_type", "the node type 'KSampler'", "node 3 (KSampler)"),
        ("comfyui.missing_model", f"the model {MODEL!r}", "node 4 (CheckpointLoaderSimple) input 'ckpt_name'"),
    ]


def test_a_file_that_the_task_sets_is_what_is_needed() -> None:
    assert missing(described(), set={"4.ckpt_name": "other.safetensors"}) == [
        ("comfyui.missing_model", "the model 'other.safetensors'", "node 4 (CheckpointLoaderSimple) input 'ckpt_name'")
    ]


def test_an_empty_folder_lacks_every_file_and_newer_lists_are_read() -> None:
    info = described()
    for config in ([[], {}], ["COMBO", {"options": []}], ["COMBO", {"options": ["sd.safetensors"]}]):
        info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = config
        assert [what for _, what, _ in missing(info)] == [f"the model {MODEL!r}"]


def test_what_is_no_list_of_model_files_is_not_judged() -> None:
    info = described()
    for config in (["STRING", {}], [["a.png"], {"image_upload": True}], [["euler", "heun"], {}]):
        info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = config
        assert missing(info) == []


def test_a_name_that_is_nearly_there_is_in_the_hint() -> None:
    needs = list_needs({"workflow": text_to_image(), "set": {"4.ckpt_name": "sdxl/sd_xl_base_1.0.ckpt"}})
    ((problem,),) = read_installed(described()).find_missing([needs])

    assert problem.hint is not None
    assert problem.hint.startswith(f"put the file into its models folder (it has {MODEL!r}")


def test_of_many_missing_files_all_are_named_and_the_first_have_names_that_look_alike() -> None:
    info = described()
    files = [f"portrait-{number}.safetensors" for number in range(20)]
    info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [files, {}]
    tasks = [
        list_needs({"workflow": text_to_image(), "set": {"4.ckpt_name": f"portrait-{number}-new.safetensors"}})
        for number in range(3 * MAX_SUGGESTIONS)
    ]

    missing_of_tasks = read_installed(info).find_missing(tasks)

    assert [len(problems) for problems in missing_of_tasks] == [1] * len(tasks)
    suggested = ["(it has 'portrait-" in (problem.hint or "") for (problem,) in missing_of_tasks]
    assert suggested == [True] * MAX_SUGGESTIONS + [False] * 2 * MAX_SUGGESTIONS


def test_a_file_that_many_tasks_miss_counts_once_among_those_with_suggestions() -> None:
    first, last = (
        list_needs({"workflow": text_to_image(), "set": {"4.ckpt_name": name}})
        for name in ("none.ckpt", "sd_xl_base_1.0.ckpt")
    )

    missing_of_tasks = read_installed(described()).find_missing([first] * MAX_SUGGESTIONS + [last])

    assert f"(it has {MODEL!r}" in (missing_of_tasks[-1][0].hint or "")


def test_what_is_listed_of_an_instance_is_bounded_and_no_workflow_seems_complete() -> None:
    def name_types(task: int) -> list[Need]:
        return [Need(type=f"Own{number}", where=f"node {task}-{number}") for number in range(MAX_LACKS - 10)]

    missing_of_tasks = Installed({}).find_missing([name_types(task) for task in range(4)])

    assert [len(problems) for problems in missing_of_tasks] == [MAX_LACKS - 10, 10, 1, 1]


def test_video_by_animatediff_is_a_workflow_whose_nodes_and_motion_models_are_listed() -> None:
    """The nodes are those of ComfyUI-AnimateDiff-Evolved, whose models are in `models/animatediff_models`."""
    motion = {"class_type": "ADE_LoadAnimateDiffModel", "inputs": {"model_name": "mm_sd_v15_v2.ckpt"}}
    applied = {"class_type": "ADE_ApplyAnimateDiffModelSimple", "inputs": {"motion_model": ["20", 0]}}
    needs = list_needs({"workflow": {**text_to_image(), "20": motion, "21": applied}})

    (without_nodes,) = read_installed(described()).find_missing([needs])
    names = [need.type for need in needs if need.type.startswith("ADE_") and need.file is None]
    assert [problem.what for problem in without_nodes] == [f"the node type {name!r}" for name in names]

    info = described()
    info["ADE_LoadAnimateDiffModel"] = {"input": {"required": {"model_name": [["mm_sd_v14.ckpt"], {}]}}}
    info["ADE_ApplyAnimateDiffModelSimple"] = {"input": {"required": {}}}
    ((problem,),) = read_installed(info).find_missing([needs])
    assert problem.what == "the model 'mm_sd_v15_v2.ckpt'"
    assert "--as animatediff_models/mm_sd_v15_v2.ckpt" in (problem.hint or "")
