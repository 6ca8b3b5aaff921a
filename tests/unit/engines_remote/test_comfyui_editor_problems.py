"""What cannot be converted of an editor's workflow is reported: all of it at once, with its place."""

from __future__ import annotations

from corral.engines.comfyui.editor.conversion import convert
from doubles.comfyui_editor import DESCRIBED, a_node, node_of, problems_of, text_to_image


def test_everything_that_cannot_be_converted_is_named_at_once() -> None:
    workflow = text_to_image()
    node_of(workflow, 8)["type"] = "TiledDecode"
    node_of(workflow, 6)["inputs"][0]["link"] = None
    node_of(workflow, 5)["widgets_values"] = ["wide", 512, 1]
    workflow["nodes"].append(a_node(60, "SaveLatentElsewhere", inputs=[("samples", "LATENT", 60)]))
    workflow["links"].append([60, 3, 0, 60, 0, "LATENT"])

    reported = {(code, where) for code, _, where in problems_of(workflow)}

    assert reported == {
        ("comfyui.missing_node_type", "node 8 (TiledDecode)"),
        ("comfyui.missing_node_type", "node 60 (SaveLatentElsewhere)"),
        ("comfyui.missing_input", "node 6 (CLIPTextEncode)"),
        ("comfyui.widget_value", "node 5 (EmptyLatentImage) input 'width'"),
    }


def test_a_workflow_that_keeps_nothing_and_a_group_node_are_refused() -> None:
    workflow = text_to_image()
    workflow["nodes"] = [node for node in workflow["nodes"] if node["id"] != 9]
    assert [code for code, _, _ in problems_of(workflow)] == ["comfyui.no_outputs"]

    workflow["nodes"].append(a_node(70, "workflow>mine"))
    assert [code for code, _, _ in problems_of(workflow)] == ["comfyui.group_node"]


def test_text_that_the_page_would_resolve_is_pointed_out() -> None:
    workflow = text_to_image()
    node_of(workflow, 6)["widgets_values"] = ["a {red|grey} fox"]
    node_of(workflow, 9)["widgets_values"] = ["%date:yyyy-MM-dd%/fox"]

    converted = convert(workflow, DESCRIBED)

    assert converted.workflow["6"]["inputs"]["text"] == "a {red|grey} fox"
    assert {(note.what.partition(" is left")[0], note.where) for note in converted.notes} == {
        ("'{red|grey}'", "node 6 (CLIPTextEncode) input 'text'"),
        ("'%date:yyyy-MM-dd%'", "node 9 (SaveImage) input 'filename_prefix'"),
    }
