"""A task's model is named as its engine names it when it is resident, so that the two can be compared."""

from __future__ import annotations

from corral.engines.inputs import find_model_name

WORKFLOW = {"4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "flux.safetensors"}}}


def test_ollama_names_are_complete() -> None:
    assert find_model_name("ollama", "llama3.2", {}) == "llama3.2:latest"


def test_workflow_names_its_checkpoint_where_the_task_does_not() -> None:
    assert find_model_name("comfyui", None, {"workflow": WORKFLOW}) == "flux.safetensors"
    assert find_model_name("comfyui", "mine", {"workflow": WORKFLOW}) == "mine"


def test_workflow_of_any_shape_has_at_most_no_model() -> None:
    assert [find_model_name("comfyui", None, {"workflow": odd}) for odd in (None, [], 3, {}, {"1": 2})] == [None] * 5


def test_other_engines_keep_the_name() -> None:
    assert find_model_name("llama", "smollm2", {}) == "smollm2"
    assert find_model_name("no-such-engine", None, {}) is None
