"""Fills a workflow with what one task asks; a pure function of the inputs, the task's number and its files.

A random seed is derived, never drawn: it depends on the task and its workflow alone, so that another attempt at the
same task makes the same image, and the forty tasks of a batch make forty different ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from corral.engines.comfyui.errors import WorkflowInvalidError
from corral.engines.comfyui.node_inputs import Field
from corral.engines.comfyui.places import read_places, set_values, suggest_name
from corral.engines.comfyui.workflow import Node, NodeInput, list_models, read_workflow, write_prompt
from corral.errors import Problem
from corral.narrowing import as_object
from corral.work import Json

LARGEST_SEED = 2**64 - 1
"""The bound of ComfyUI's own samplers."""
MARK = "corral_again"
"""An input that no node declares; see `Filled.make_again`."""
RANDOM = "random"
"""Written in place of a seed: one of the task's own."""
_SEED_INPUTS = ("seed", "noise_seed")
_SEED_BITS = 32
"""Some custom nodes take no larger seed; 32 bits are enough to distinguish the tasks of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A workflow, and what a task changes in it."""

    workflow: Mapping[str, Json]
    fields: Mapping[Field, Json]
    """Values of the places of their names; a seed can be `random`. None leaves a field alone."""
    settings: Mapping[str, Json]
    """Values whose place or input is named: `strength`, `6.text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A workflow ready to submit, but for the names that uploaded files get."""

    prompt: dict[str, Json]
    uploads: Mapping[NodeInput, str]
    """Where the name of an uploaded file belongs: input to the file's name in the task."""
    models: tuple[str, ...]
    """The model files that loader nodes name."""

    def name_uploads(self, names: Mapping[str, str]) -> dict[str, Json]:
        """Return the prompt with every file reference replaced by the name that the instance gave to the file."""
        prompt = {node: {**content, "inputs": dict(content["inputs"])} for node, content in self.prompt.items()}
        for target, file in self.uploads.items():
            prompt[target.node]["inputs"][target.input] = names[file]
        return prompt

    def make_again(self, nodes: Collection[str], *, mark: str) -> Filled:
        """Return the same with an input more in these nodes, so that ComfyUI takes nothing of them from its cache.

        Nodes do not see inputs that they do not declare, but the cache compares all of them.
        """
        marked = {
            node: {**content, "inputs": {**content["inputs"], MARK: mark}} if node in nodes else content
            for node, content in self.prompt.items()
        }
        return replace(self, prompt=marked)


def fill(changes: Changes, *, task: int, files: Collection[str]) -> Filled:
    """Put what the task asks into its workflow. Raises: WorkflowInvalidError with every problem."""
    workflow, problems = _fill_workflow(changes, task)
    uploads = _find_file_references(workflow)
    problems += _find_unknown_files(uploads, files)
    if problems:
        raise WorkflowInvalidError(problems)
    prompt = write_prompt(workflow, changes.workflow)
    return Filled(prompt=prompt, uploads=uploads, models=list_models(workflow.values()))


def find_problems(changes: Changes) -> list[Problem]:
    """List what is wrong before the task's number and files are known."""
    return _fill_workflow(changes, task=0)[1]


def fill_nodes(changes: Changes) -> dict[str, Node]:
    """Return the nodes as far as the changes fit, to see what they name."""
    return _fill_workflow(changes, task=0)[0]


def _fill_workflow(changes: Changes, task: int) -> tuple[dict[str, Node], list[Problem]]:
    workflow, problems = read_workflow(changes.workflow)
    if problems:
        return workflow, problems
    places, problems = read_places(changes.workflow, workflow)
    seed = _derive_seed(changes.workflow, task)
    fields, wrong = _choose_seed(changes.fields, seed)
    problems += wrong + set_values(workflow, places, fields, changes.settings)
    _replace_random_seeds(workflow, seed)
    return workflow, problems


def _choose_seed(fields: Mapping[Field, Json], derived: int) -> tuple[Mapping[Field, Json], list[Problem]]:
    """Return the fields with a seed that the workflow can have."""
    seed: Json = fields.get("seed")
    seed = derived if seed == RANDOM else seed
    is_wrong = seed is not None and not 0 <= seed <= LARGEST_SEED
    return {**fields, "seed": None if is_wrong else seed}, [_report_bad_seed(seed)] if is_wrong else []


def _derive_seed(raw: Mapping[str, Json], task: int) -> int:
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"{task}\n{canonical}".encode()).digest()
    return int.from_bytes(digest[:8]) % 2**_SEED_BITS


def _replace_random_seeds(workflow: dict[str, Node], seed: int) -> None:
    """Give nodes whose seed is `random` or negative the derived one: front ends write -1, which ComfyUI refuses."""
    for node in workflow.values():
        for name in _SEED_INPUTS:
            value = node.inputs.get(name)
            if value == RANDOM or (isinstance(value, int) and value < 0):
                node.inputs[name] = seed


def _find_file_references(workflow: Mapping[str, Node]) -> dict[NodeInput, str]:
    return {
        NodeInput(node=node.id, input=name): reference["file"]
        for node in workflow.values()
        for name, value in node.inputs.items()
        if (reference := as_object(value)).keys() == {"file"} and isinstance(reference["file"], str)
    }


def _find_unknown_files(uploads: Mapping[NodeInput, str], files: Collection[str]) -> list[Problem]:
    return [
        Problem(
            code="comfyui.unknown_file",
            what=f"the task has no file {name!r}",
            where=f"inputs.workflow.{target}",
            hint=suggest_name(name, files, "its files are"),
        )
        for target, name in uploads.items()
        if name not in files
    ]


def _report_bad_seed(value: Json) -> Problem:
    what = f"a seed is a number from 0 to {LARGEST_SEED}: {value}"
    return Problem(code="comfyui.seed", what=what, where="inputs.seed", hint='write "random" for a seed of its own')
