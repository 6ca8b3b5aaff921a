"""Workflows of ComfyUI's editor become those that its page sends to `/prompt`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corral.engines.comfyui.editor.conversion import convert
from corral.engines.comfyui.editor.graph import MAX_DEPTH, MAX_NODES
from corral.engines.converting import Converted
from doubles.comfyui_editor import (
    DESCRIBED,
    SAMPLER_INPUTS,
    a_node,
    a_subgraph,
    a_workflow,
    describe,
    node_of,
    problems_of,
    text_to_image,
)

Json = Any
MUTED, BYPASSED = 2, 4


def inputs_of(workflow: Json, described: Json = DESCRIBED) -> dict[str, dict[str, Json]]:
    """Return the inputs of each node in API format."""
    return {node: content["inputs"] for node, content in convert(workflow, described).workflow.items()}


def save(link: int, id: int = 9) -> Json:
    return a_node(id, "SaveImage", ["x"], inputs=[("images", "IMAGE", link)])


# --- values ---------------------------------------------------------------------------------------------------------


def test_the_workflow_that_the_editor_opens_with_is_what_its_page_would_send() -> None:
    converted = convert(text_to_image(), DESCRIBED)

    assert converted == Converted(
        workflow={
            "7": {
                "inputs": {"text": "blurry", "clip": ["4", 1]},
                "class_type": "CLIPTextEncode",
                "_meta": {"title": "CLIPTextEncode"},
            },
            "6": {
                "inputs": {"text": "a fox", "clip": ["4", 1]},
                "class_type": "CLIPTextEncode",
                "_meta": {"title": "Prompt"},
            },
            "5": {
                "inputs": {"width": 832, "height": 1216, "batch_size": 1},
                "class_type": "EmptyLatentImage",
                "_meta": {"title": "EmptyLatentImage"},
            },
            "3": {
                "inputs": {
                    "seed": 5,
                    "steps": 30,
                    "cfg": 7.5,
                    "sampler_name": "dpmpp_2m",
                    "scheduler": "karras",
                    "denoise": 1,
                    "model": ["4", 0],
                    "positive": ["6", 0],
                    "negative": ["7", 0],
                    "latent_image": ["5", 0],
                },
                "class_type": "KSampler",
                "_meta": {"title": "KSampler"},
            },
            "8": {
                "inputs": {"samples": ["3", 0], "vae": ["4", 2]},
                "class_type": "VAEDecode",
                "_meta": {"title": "VAEDecode"},
            },
            "9": {
                "inputs": {"filename_prefix": "fox", "images": ["8", 0]},
                "class_type": "SaveImage",
                "_meta": {"title": "SaveImage"},
            },
            "4": {
                "inputs": {"ckpt_name": "sdxl.safetensors"},
                "class_type": "CheckpointLoaderSimple",
                "_meta": {"title": "CheckpointLoaderSimple"},
            },
        }
    )


@pytest.mark.parametrize(
    "values",
    [
        [5, "randomize", 30, 7.5, "dpmpp_2m", "karras", 0.5],
        [5, True, 30, 7.5, "dpmpp_2m", "karras", 0.5],
        [5, 30, 7.5, "dpmpp_2m", "karras", 0.5],
    ],
    ids=["control", "the switch of 2023", "none"],
)
def test_the_control_after_a_seed_is_not_the_next_value(values: Json) -> None:
    workflow = text_to_image()
    node_of(workflow, 3)["widgets_values"] = values

    sampler = inputs_of(workflow)["3"]

    assert (sampler["seed"], sampler["steps"], sampler["denoise"]) == (5, 30, 0.5)


def test_the_example_is_drawn_and_exported_alike() -> None:
    folder = Path(__file__).parents[3] / "examples" / "portraits"
    drawn, exported = (json.loads((folder / name).read_text()) for name in ("drawn.json", "portrait.json"))

    assert inputs_of(drawn) == {node: content["inputs"] for node, content in exported.items()}


def test_values_that_the_file_is_too_old_for_have_their_defaults() -> None:
    workflow = text_to_image()
    node_of(workflow, 3)["widgets_values"] = [5, "fixed", 30]
    del node_of(workflow, 9)["widgets_values"]

    inputs = inputs_of(workflow)

    assert (inputs["3"]["cfg"], inputs["3"]["sampler_name"], inputs["3"]["denoise"]) == (8.0, "euler", 1.0)
    assert inputs["9"]["filename_prefix"] == "ComfyUI"


def test_the_order_of_values_is_the_one_that_the_instance_names() -> None:
    described = {
        **DESCRIBED,
        "EmptyLatentImage": {
            **DESCRIBED["EmptyLatentImage"],
            "input_order": {"required": ["batch_size", "width", "height"]},
        },
    }
    workflow = text_to_image()
    node_of(workflow, 5)["widgets_values"] = [3, 832, 1216]

    assert inputs_of(workflow, described)["5"] == {"batch_size": 3, "width": 832, "height": 1216}


def test_values_by_name_do_not_depend_on_the_order() -> None:
    workflow = text_to_image()
    node_of(workflow, 5)["widgets_values"] = {
        "height": 64,
        "width": 32,
        "batch_size": 2,
        "videopreview": {"hidden": True},
    }
    node_of(workflow, 3)["widgets_values_named"] = {"seed": 9, "steps": 12, "control_after_generate": "fixed", "cfg": 2}

    inputs = inputs_of(workflow)

    assert inputs["5"] == {"height": 64, "width": 32, "batch_size": 2}
    assert (inputs["3"]["seed"], inputs["3"]["steps"], inputs["3"]["cfg"]) == (9, 12, 2)
    assert "control_after_generate" not in inputs["3"]


def test_sockets_that_had_a_widget_before_version_1_16_do_not_shift_the_values() -> None:
    required: Json = {"first": ["INT", {"forceInput": True}], "second": ["INT", {}], "third": ["STRING", {}]}
    described = {**DESCRIBED, "Odd": describe(required, output_node=True)}
    link = ("first", "INT", 1)

    def odd(values: Json) -> Json:
        nodes = [a_node(1, "EmptyLatentImage", [1, 2, 3], outputs=["LATENT"]), a_node(2, "Odd", values, inputs=[link])]
        return inputs_of(a_workflow(nodes, [(1, 1, 0, 2, 0, "INT")]), described)["2"]

    expected = {"first": ["1", 0], "second": 7, "third": "x"}
    assert odd([7, "x"]) == expected
    assert odd([0, 7, "x"]) == expected


def test_a_choice_brings_the_inputs_that_it_has() -> None:
    resize = a_node(
        2,
        "ResizeImageMaskNode",
        ["scale dimensions", 640, 480, "center", "lanczos"],
        inputs=[("input", "IMAGE", 1)],
        outputs=["IMAGE"],
    )
    nodes = [a_node(1, "LoadImage", ["portrait.png", "image"], outputs=["IMAGE", "MASK"]), resize, save(2)]
    workflow = a_workflow(nodes, [(1, 1, 0, 2, 0, "IMAGE"), (2, 2, 0, 9, 0, "IMAGE")])

    inputs = inputs_of(workflow)

    assert inputs["1"] == {"image": "portrait.png"}
    assert inputs["2"] == {
        "resize_type": "scale dimensions",
        "resize_type.width": 640,
        "resize_type.height": 480,
        "resize_type.crop": "center",
        "scale_method": "lanczos",
        "input": ["1", 0],
    }


def test_a_list_is_marked_as_a_value_because_a_plain_one_is_a_link() -> None:
    described = {**DESCRIBED, "Curve": describe({"points": ["CURVE", {}]}, output_node=True)}

    assert inputs_of(a_workflow([a_node(1, "Curve", [["a", 0]])], []), described)["1"] == {
        "points": {"__value__": ["a", 0]}
    }


def test_a_value_of_another_version_of_the_node_is_named_with_its_input() -> None:
    workflow = text_to_image()
    node_of(workflow, 3)["widgets_values"] = [5, "fixed", "euler", 7.5, 30, "karras", 1]

    assert problems_of(workflow) == [
        (
            "comfyui.widget_value",
            "'euler' is not a value of type INT: the file is of another version of this node",
            "node 3 (KSampler) input 'steps'",
        )
    ]


# --- links ----------------------------------------------------------------------------------------------------------


def test_a_converted_widget_has_its_link_or_the_value_of_its_primitive() -> None:
    workflow = text_to_image()
    latent = a_node(
        5, "EmptyLatentImage", [512, 512, 1], widgets=[("width", "INT", 20), ("height", "INT", 21)], outputs=["LATENT"]
    )
    workflow["nodes"] = [node for node in workflow["nodes"] if node["id"] != 5]
    workflow["nodes"] += [
        latent,
        a_node(20, "PrimitiveNode", [768, "fixed"], outputs=["INT"]),
        a_node(21, "Size", [64], outputs=["INT", "INT"]),
        a_node(22, "Note", ["why it is so"]),
        a_node(23, "MarkdownNote", ["# a title"]),
    ]
    workflow["links"] += [[20, 20, 0, 5, 0, "INT"], [21, 21, 1, 5, 1, "INT"]]
    described = {**DESCRIBED, "Size": describe({"of": ["INT", {}]}, ["INT", "INT"])}

    inputs = inputs_of(workflow, described)

    assert inputs["5"] == {"width": 768, "height": ["21", 1], "batch_size": 1}
    assert not {"20", "22", "23"} & inputs.keys()


def test_reroutes_and_named_nodes_are_followed_to_where_a_link_begins() -> None:
    workflow = text_to_image()
    node_of(workflow, 9)["inputs"][0]["link"] = 30
    workflow["nodes"] += [
        a_node(30, "Reroute", inputs=[("", "*", 31)], outputs=["*"]),
        a_node(31, "GetNode", ["picture"], outputs=["IMAGE"]),
        a_node(32, "SetNode", ["picture"], inputs=[("IMAGE", "IMAGE", 32)], outputs=["*"]),
    ]
    workflow["links"] += [[30, 30, 0, 9, 0, "IMAGE"], [31, 31, 0, 30, 0, "*"], [32, 8, 0, 32, 0, "IMAGE"]]

    assert inputs_of(workflow)["9"]["images"] == ["8", 0]


def with_lora(mode: int) -> Json:
    workflow = text_to_image()
    lora = a_node(
        40,
        "LoraLoader",
        ["a.safetensors", 0.8, 1],
        inputs=[("model", "MODEL", 40), ("clip", "CLIP", 41)],
        outputs=["MODEL", "CLIP"],
        mode=mode,
    )
    workflow["nodes"].append(lora)
    workflow["links"] = [link for link in workflow["links"] if link[0] not in (1, 3, 5)]
    workflow["links"] += [[40, 4, 0, 40, 0, "MODEL"], [41, 4, 1, 40, 1, "CLIP"], [1, 40, 0, 3, 0, "MODEL"]]
    workflow["links"] += [[3, 40, 1, 6, 0, "CLIP"], [5, 40, 1, 7, 0, "CLIP"]]
    return workflow


def test_a_bypassed_node_passes_on_its_inputs_of_the_same_types() -> None:
    assert inputs_of(with_lora(0))["3"]["model"] == ["40", 0]

    inputs = inputs_of(with_lora(BYPASSED))

    assert "40" not in inputs
    assert (inputs["3"]["model"], inputs["6"]["clip"], inputs["7"]["clip"]) == (["4", 0], ["4", 1], ["4", 1])


def test_a_link_to_a_muted_node_is_named_with_every_input_that_lacks_it() -> None:
    reason = "is linked to node 40 (LoraLoader), which is muted"

    assert sorted(problems_of(with_lora(MUTED)), key=lambda problem: problem[2] or "") == [
        ("comfyui.missing_input", f"the input 'model' (MODEL) {reason}", "node 3 (KSampler)"),
        ("comfyui.missing_input", f"the input 'clip' (CLIP) {reason}", "node 6 (CLIPTextEncode)"),
        ("comfyui.missing_input", f"the input 'clip' (CLIP) {reason}", "node 7 (CLIPTextEncode)"),
    ]


def test_what_no_output_needs_is_left_out_whatever_it_lacks() -> None:
    workflow = text_to_image()
    workflow["nodes"] += [
        a_node(50, "PreviewImage", inputs=[("images", "IMAGE", 50)], mode=MUTED),
        a_node(51, "Fast Groups Muter (rgthree)", outputs=["*"]),
        a_node(52, "VAEDecode", inputs=[("samples", "LATENT", None), ("vae", "VAE", None)], outputs=["IMAGE"]),
    ]
    workflow["links"].append([50, 8, 0, 50, 0, "IMAGE"])

    assert inputs_of(workflow) == inputs_of(text_to_image())


def test_links_in_a_circle_are_reported_and_not_followed_for_ever() -> None:
    nodes = [
        a_node(1, "Reroute", inputs=[("", "*", 2)], outputs=["*"]),
        a_node(2, "Reroute", inputs=[("", "*", 1)], outputs=["*"]),
        save(3),
    ]
    links = [(1, 1, 0, 2, 0, "*"), (2, 2, 0, 1, 0, "*"), (3, 1, 0, 9, 0, "IMAGE")]

    ((code, what, _),) = problems_of(a_workflow(nodes, links))

    assert (code, what) == (
        "comfyui.missing_input",
        "the input 'images' (IMAGE) is linked in a circle through node 1, or over more than 500 steps",
    )


# --- subgraphs ------------------------------------------------------------------------------------------------------


def with_subgraph(**host: Json) -> Json:
    """The workflow of the editor with its sampler inside of a subgraph, whose node shows the seed and the steps."""
    workflow = text_to_image()
    sampler = a_node(
        3,
        "KSampler",
        [1, "fixed", 2, 7.5, "euler", "normal", 1],
        inputs=[(name, kind, number) for number, (name, kind, _) in enumerate(SAMPLER_INPUTS, 1)],
        widgets=[("seed", "INT", 5), ("steps", "INT", 6)],
        outputs=["LATENT"],
    )
    names = [(name, kind) for name, kind, _ in SAMPLER_INPUTS]
    shown = [("noise", "INT"), ("steps", "INT")]
    inner = [(number, -10, number - 1, 3, number - 1, kind) for number, (_, kind) in enumerate([*names, *shown], 1)]
    definition = a_subgraph(
        "uuid-1",
        [sampler],
        [*inner, (7, 3, 0, -20, 0, "LATENT")],
        inputs=[*names, *shown],
        outputs=[("LATENT", "LATENT")],
    )
    rest: dict[str, Json] = {"widgets": [("noise", "INT", None), ("steps", "INT", None)], "values": [77, 12], **host}
    node = a_node(3, "uuid-1", inputs=SAMPLER_INPUTS, outputs=["LATENT"], **rest)
    workflow["nodes"] = [node if old["id"] == 3 else old for old in workflow["nodes"]]
    workflow["definitions"] = {"subgraphs": [definition]}
    return workflow


@pytest.mark.parametrize(
    ("host", "seed", "steps"),
    [
        ({}, 77, 12),
        ({"values": [], "widgets_values_named": {"noise": 78}}, 78, 2),
        ({"properties": {"proxyWidgets": [["3", "steps"], ["-1", "noise"]]}, "values": [13, 79]}, 79, 13),
        ({"properties": {"proxyWidgets": [["3", "seed"]]}, "values": []}, 1, 2),
        ({"widgets": []}, 77, 12),
    ],
    ids=["by position", "by name", "listed", "kept inside", "without slots"],
)
def test_a_subgraph_has_the_values_that_its_node_shows(host: Json, seed: int, steps: int) -> None:
    inputs = inputs_of(with_subgraph(**host))

    assert (inputs["3:3"]["seed"], inputs["3:3"]["steps"]) == (seed, steps)
    assert (inputs["3:3"]["model"], inputs["3:3"]["positive"]) == (["4", 0], ["6", 0])
    assert inputs["8"]["samples"] == ["3:3", 0]
    assert "3" not in inputs


def test_a_widget_that_a_subgraph_only_shows_has_the_value_of_each_use() -> None:
    definition = a_subgraph(
        "uuid-2",
        [a_node(1, "LoadImage", ["example.png", "image"], outputs=["IMAGE", "MASK"])],
        [(1, 1, 0, -20, 0, "IMAGE")],
        inputs=[],
        outputs=[("IMAGE", "IMAGE")],
    )
    shown = {"proxyWidgets": [["1", "image"]]}
    nodes = [
        a_node(1, "uuid-2", ["portrait.png"], outputs=["IMAGE"], properties=shown),
        a_node(2, "uuid-2", [], outputs=["IMAGE"], properties=shown),
        save(1, 3),
        save(2, 4),
    ]
    workflow = a_workflow(nodes, [(1, 1, 0, 3, 0, "IMAGE"), (2, 2, 0, 4, 0, "IMAGE")], subgraphs=[definition])

    inputs = inputs_of(workflow)

    assert (inputs["1:1"]["image"], inputs["2:1"]["image"]) == ("portrait.png", "example.png")
    assert (inputs["3"]["images"], inputs["4"]["images"]) == (["1:1", 0], ["2:1", 0])


def test_a_list_that_a_subgraph_shows_is_marked_as_a_value_too() -> None:
    described = {**DESCRIBED, "Curve": describe({"points": ["CURVE", {}]}, output_node=True)}
    definition = a_subgraph("uuid-3", [a_node(1, "Curve", [[[0, 0], [1, 1]]])], [], inputs=[], outputs=[])
    shown = {"proxyWidgets": [["1", "points"]]}
    nodes = [
        a_node(number, "uuid-3", [points], properties=shown)
        for number, points in enumerate(([[0, 0], [9, 9]], ["1:1", 0]), 1)
    ]

    inputs = inputs_of(a_workflow(nodes, [], subgraphs=[definition]), described)

    assert inputs["1:1"] == {"points": {"__value__": [[0, 0], [9, 9]]}}
    assert inputs["2:1"] == {"points": {"__value__": ["1:1", 0]}}


def nested(mode: int = 0, inner_mode: int = 0) -> Json:
    inner = a_subgraph(
        "inner",
        [
            a_node(6, "ImageInvert", inputs=[("image", "IMAGE", 1)], outputs=["IMAGE"]),
            a_node(7, "PreviewImage", inputs=[("images", "IMAGE", 3)]),
        ],
        [(1, -10, 0, 6, 0, "IMAGE"), (2, 6, 0, -20, 0, "IMAGE"), (3, 6, 0, 7, 0, "IMAGE")],
        inputs=[("IMAGE", "IMAGE")],
        outputs=[("IMAGE", "IMAGE")],
    )
    outer = a_subgraph(
        "outer",
        [a_node(5, "inner", inputs=[("IMAGE", "IMAGE", 1)], outputs=["IMAGE"], mode=inner_mode)],
        [(1, -10, 0, 5, 0, "IMAGE"), (2, 5, 0, -20, 0, "IMAGE")],
        inputs=[("IMAGE", "IMAGE")],
        outputs=[("IMAGE", "IMAGE")],
    )
    nodes = [
        a_node(1, "LoadImage", ["example.png", "image"], outputs=["IMAGE", "MASK"]),
        a_node(10, "outer", inputs=[("IMAGE", "IMAGE", 1)], outputs=["IMAGE"], mode=mode),
        save(2),
    ]
    return a_workflow(nodes, [(1, 1, 0, 10, 0, "IMAGE"), (2, 10, 0, 9, 0, "IMAGE")], subgraphs=[outer, inner])


def test_subgraphs_inside_of_subgraphs_have_ids_of_every_level() -> None:
    inputs = inputs_of(nested())

    assert inputs["10:5:6"] == {"image": ["1", 0]}
    assert inputs["10:5:7"] == {"images": ["10:5:6", 0]}
    assert inputs["9"]["images"] == ["10:5:6", 0]


@pytest.mark.parametrize("workflow", [nested(mode=BYPASSED), nested(inner_mode=BYPASSED)], ids=["outer", "inner"])
def test_a_bypassed_subgraph_passes_on_its_input_and_runs_nothing_inside(workflow: Json) -> None:
    inputs = inputs_of(workflow)

    assert inputs.keys() == {"1", "9"}
    assert inputs["9"]["images"] == ["1", 0]


def test_subgraphs_that_use_one_another_are_refused_in_bounded_memory() -> None:
    looping = a_subgraph("a", [a_node(1, "a")], [], inputs=[], outputs=[])
    assert ("comfyui.workflow_shape", "the subgraph is inside of itself", "node 1:1 (a)") in problems_of(
        a_workflow([a_node(1, "a")], [], subgraphs=[looping])
    )

    deep = [
        a_subgraph(f"in-{depth}", [a_node(1, f"in-{depth + 1}")], [], inputs=[], outputs=[]) for depth in range(900)
    ]
    what = f"subgraphs are inside of one another more than {MAX_DEPTH} times"
    assert ("comfyui.workflow_shape", what, f"subgraph in-{MAX_DEPTH}") in problems_of(
        a_workflow([a_node(1, "in-0")], [], subgraphs=deep)
    )

    many = [a_node(number, f"level-{level + 1}") for level in (0,) for number in range(30)]
    levels = [
        a_subgraph(
            f"level-{level}", [{**node, "type": f"level-{level + 1}"} for node in many], [], inputs=[], outputs=[]
        )
        for level in range(8)
    ]
    (problem,) = problems_of(a_workflow([a_node(1, "level-0")], [], subgraphs=levels))
    assert problem[1] == f"the workflow has more than {MAX_NODES} nodes with those of its subgraphs"
