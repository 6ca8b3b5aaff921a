"""Workflows as ComfyUI's editor saves them, and descriptions of node types as `/object_info` answers with them.

Stands for: files of the editor and answers of an instance. Their shape was taken from the tests' own workflows of
Comfy-Org/ComfyUI_frontend (`browser_tests/assets`: default, converted inputs, subgraphs, promoted widgets, dynamic
choices) and from the node classes of ComfyUI 0.3 and 0.27; the workflows are our own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from corral.engines.comfyui.editor.conversion import convert
from corral.engines.comfyui.errors import WorkflowInvalidError

Json = Any
_IMAGES = ["example.png", "portrait.png"]
_SEED = ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}]


def describe(
    required: dict[str, Json],
    outputs: Sequence[str] = (),
    *,
    optional: dict[str, Json] | None = None,
    output_node: bool = False,
    order: Sequence[str] = (),
) -> dict[str, Json]:
    """Describe a node type as `/object_info` does."""
    groups = {"required": required, **({"optional": optional} if optional else {})}
    names = {group: list(order or inputs) for group, inputs in groups.items()}
    return {"input": groups, "input_order": names, "output": list(outputs), "output_node": output_node}


DESCRIBED: dict[str, Json] = {
    "CheckpointLoaderSimple": describe(
        {"ckpt_name": [["sd15.safetensors", "sdxl.safetensors"]]}, ["MODEL", "CLIP", "VAE"]
    ),
    "LoraLoader": describe(
        {
            "model": ["MODEL"],
            "clip": ["CLIP"],
            "lora_name": ["COMBO", {"options": ["a.safetensors", "b.safetensors"]}],
            "strength_model": ["FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0}],
            "strength_clip": ["FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0}],
        },
        ["MODEL", "CLIP"],
    ),
    "CLIPTextEncode": describe(
        {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "clip": ["CLIP"]}, ["CONDITIONING"]
    ),
    "EmptyLatentImage": describe(
        {name: ["INT", {"default": default}] for name, default in (("width", 512), ("height", 512), ("batch_size", 1))},
        ["LATENT"],
    ),
    "KSampler": describe(
        {
            "model": ["MODEL"],
            "seed": _SEED,
            "steps": ["INT", {"default": 20, "min": 1, "max": 10000}],
            "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0}],
            "sampler_name": [["euler", "dpmpp_2m"], {}],
            "scheduler": [["normal", "karras"], {}],
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "latent_image": ["LATENT"],
            "denoise": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0}],
        },
        ["LATENT"],
    ),
    "VAEDecode": describe({"samples": ["LATENT"], "vae": ["VAE"]}, ["IMAGE"]),
    "LoadImage": describe({"image": [_IMAGES, {"image_upload": True}]}, ["IMAGE", "MASK"]),
    "ImageInvert": describe({"image": ["IMAGE"]}, ["IMAGE"]),
    "SaveImage": describe(
        {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}, output_node=True
    ),
    "PreviewImage": describe({"images": ["IMAGE"]}, output_node=True),
    "ResizeImageMaskNode": describe(
        {
            "input": ["IMAGE"],
            "resize_type": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "scale by", "inputs": {"required": {"factor": ["FLOAT", {"default": 1.0}]}}},
                        {
                            "key": "scale dimensions",
                            "inputs": {
                                "required": {
                                    "width": ["INT", {"default": 512}],
                                    "height": ["INT", {"default": 512}],
                                    "crop": ["COMBO", {"options": ["disabled", "center"]}],
                                }
                            },
                        },
                    ]
                },
            ],
            "scale_method": ["COMBO", {"options": ["area", "lanczos"]}],
        },
        ["IMAGE"],
    ),
}


def a_node(
    id: int | str,
    type: str,
    values: Json = None,
    *,
    inputs: Sequence[tuple[str, str, int | None]] = (),
    widgets: Sequence[tuple[str, str, int | None]] = (),
    outputs: Sequence[str] = (),
    **rest: Json,
) -> dict[str, Json]:
    """Return a node; `inputs` are name, type and link, `widgets` those that belong to a widget."""
    slots = [{"name": name, "type": kind, "link": link} for name, kind, link in inputs]
    slots += [{"name": name, "type": kind, "link": link, "widget": {"name": name}} for name, kind, link in widgets]
    return {
        "id": id,
        "type": type,
        "pos": [0, 0],
        "size": [315, 98],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": slots,
        "outputs": [{"name": kind, "type": kind, "links": []} for kind in outputs],
        "properties": {"Node name for S&R": type},
        **({} if values is None else {"widgets_values": values}),
        **rest,
    }


def a_workflow(
    nodes: Sequence[Json], links: Sequence[Sequence[Json]], *, subgraphs: Sequence[Json] = ()
) -> dict[str, Json]:
    """Return a workflow of version 0.4; links are id, origin, slot, target, slot, type."""
    return {
        "last_node_id": 99,
        "last_link_id": 99,
        "nodes": list(nodes),
        "links": [list(link) for link in links],
        "groups": [{"title": "All", "bounding": [0, 0, 900, 900]}],
        "config": {},
        "extra": {"ds": {"scale": 1, "offset": [0, 0]}},
        **({"definitions": {"subgraphs": list(subgraphs)}} if subgraphs else {}),
        "version": 0.4,
    }


def a_subgraph(
    id: str,
    nodes: Sequence[Json],
    links: Sequence[tuple[int, int, int, int, int, str]],
    *,
    inputs: Sequence[tuple[str, str]],
    outputs: Sequence[tuple[str, str]],
) -> dict[str, Json]:
    """Return a subgraph's definition; its inputs are the outputs of node -10, its outputs the inputs of node -20."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    number = itertools.count(1)
    return {
        "id": id,
        "version": 1,
        "state": {"lastNodeId": 99, "lastLinkId": 99},
        "name": "Sampling",
        "inputNode": {"id": -10, "bounding": [0, 0, 120, 60]},
        "outputNode": {"id": -20, "bounding": [900, 0, 120, 60]},
        "inputs": [{"id": f"in-{next(number)}", "name": name, "type": kind, "linkIds": []} for name, kind in inputs],
        "outputs": [{"id": f"out-{next(number)}", "name": name, "type": kind, "linkIds": []} for name, kind in outputs],
        "widgets": [],
        "nodes": list(nodes),
        "links": [dict(zip(keys, link, strict=True)) for link in links],
    }


SAMPLER_INPUTS = [
    ("model", "MODEL", 1),
    ("positive", "CONDITIONING", 4),
    ("negative", "CONDITIONING", 6),
    ("latent_image", "LATENT", 2),
]


def text_to_image() -> dict[str, Json]:
    """Return the workflow that the editor opens with, as version 0.4 saves it."""
    return a_workflow(
        [
            a_node(7, "CLIPTextEncode", ["blurry"], inputs=[("clip", "CLIP", 5)], outputs=["CONDITIONING"]),
            a_node(
                6, "CLIPTextEncode", ["a fox"], inputs=[("clip", "CLIP", 3)], outputs=["CONDITIONING"], title="Prompt"
            ),
            a_node(5, "EmptyLatentImage", [832, 1216, 1], outputs=["LATENT"]),
            a_node(
                3,
                "KSampler",
                [5, "randomize", 30, 7.5, "dpmpp_2m", "karras", 1],
                inputs=SAMPLER_INPUTS,
                outputs=["LATENT"],
            ),
            a_node(8, "VAEDecode", inputs=[("samples", "LATENT", 7), ("vae", "VAE", 8)], outputs=["IMAGE"]),
            a_node(9, "SaveImage", ["fox"], inputs=[("images", "IMAGE", 9)]),
            a_node(4, "CheckpointLoaderSimple", ["sdxl.safetensors"], outputs=["MODEL", "CLIP", "VAE"]),
        ],
        [
            (1, 4, 0, 3, 0, "MODEL"),
            (2, 5, 0, 3, 3, "LATENT"),
            (3, 4, 1, 6, 0, "CLIP"),
            (4, 6, 0, 3, 1, "CONDITIONING"),
            (5, 4, 1, 7, 0, "CLIP"),
            (6, 7, 0, 3, 2, "CONDITIONING"),
            (7, 3, 0, 8, 0, "LATENT"),
            (8, 4, 2, 8, 1, "VAE"),
            (9, 8, 0, 9, 0, "IMAGE"),
        ],
    )


def plain_text_to_image() -> dict[str, Json]:
    """Return the same for the double of ComfyUI, whose sampler has neither scheduler nor denoise."""
    workflow = text_to_image()
    for node in workflow["nodes"]:
        if node["id"] == 3:
            node["widgets_values"] = [5, "randomize", 4, 7.0, "euler"]
        if node["id"] == 4:
            node["widgets_values"] = ["sd_xl_base_1.0.safetensors"]
        if node["id"] == 5:
            node["widgets_values"] = [32, 32, 1]
    return workflow


def node_of(workflow: Json, id: int) -> Json:
    """Return a node of a workflow, to be changed."""
    return next(node for node in workflow["nodes"] if node["id"] == id)


def problems_of(workflow: Json, described: Json = DESCRIBED) -> list[tuple[str, str, str | None]]:
    """Return the code, fact and place of each problem that a conversion reports."""
    with pytest.raises(WorkflowInvalidError) as caught:
        convert(workflow, described)
    return [(problem.code, problem.what, problem.where) for problem in caught.value.problems]
