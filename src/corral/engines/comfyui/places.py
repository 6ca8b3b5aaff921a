"""The places of a workflow: names such as `prompt`, `seed` or `strength`, and the node inputs that each of them sets.

A workflow names its places itself, in an entry `places` next to its nodes:

    {"3": {"class_type": "KSampler", ...}, "places": {"seed": "3.seed", "strength": ["10.strength_model"]}}

A field of a task (`prompt`, `seed`, ...) sets the place of its name; where the workflow names none, its inputs are
found by the rules of `node_inputs`. Every other place is set by its name in `set`, as is any input, `3.seed`. So those
who set a workflow need to know names only, and a workflow that is drawn anew brings its places along.

Belongs here: reading, checking and setting places.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import get_args

from corral.engines.comfyui.node_inputs import Field, find_inputs
from corral.engines.comfyui.workflow import PLACES, Node, NodeInput, Workflow
from corral.errors import Problem, did_you_mean
from corral.narrowing import as_list
from corral.work import Json

MAX_PLACES, MAX_INPUTS = 200, 100
"""Places of one workflow, and inputs of one place."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
_FIELDS: tuple[Field, ...] = get_args(Field)

Places = Mapping[str, tuple[NodeInput, ...]]


def read_places(raw: Mapping[str, Json], workflow: Workflow) -> tuple[Places, list[Problem]]:
    """Read the places that a workflow names, with every problem of them."""
    given = raw.get(PLACES)
    if given is None:
        return {}, []
    if not isinstance(given, dict) or len(given) > MAX_PLACES:  # pyright: ignore[reportUnknownArgumentType]  JSON
        what = f"`{PLACES}` is not a mapping of up to {MAX_PLACES} names to inputs"
        return {}, [_make_problem(what, (), 'write {"seed": "3.seed"}')]
    places: dict[str, tuple[NodeInput, ...]] = {}
    problems: list[Problem] = []
    for name, targets in given.items():  # pyright: ignore[reportUnknownVariableType]  JSON
        places[name], wrong = _read_place(str(name), targets, workflow)  # pyright: ignore[reportUnknownArgumentType]  as above
        problems += wrong
    return places, problems


def set_values(
    workflow: dict[str, Node], places: Places, fields: Mapping[Field, Json], settings: Mapping[str, Json]
) -> list[Problem]:
    """Set the fields at their places, then what is named; return every problem. A field with None is left alone."""
    problems: list[Problem] = []
    for field in _FIELDS:
        if fields.get(field) is None:
            continue
        targets, problem = (places[field], None) if field in places else find_inputs(workflow, field)
        problems += [problem] if problem else []
        _set(workflow, targets, fields[field])
    for key, value in settings.items():
        targets, problem = _find_setting(key, workflow, places)
        problems += [problem] if problem else []
        _set(workflow, targets, value)
    return problems


def _set(workflow: Workflow, targets: Collection[NodeInput], value: Json) -> None:
    for target in targets:
        workflow[target.node].inputs[target.input] = value


def _read_place(name: str, targets: Json, workflow: Workflow) -> tuple[tuple[NodeInput, ...], list[Problem]]:
    listed = [targets] if isinstance(targets, str) else as_list(targets)
    if not _NAME.fullmatch(name):
        what = f"{name[:70]!r} is not the name of a place"
        return (), [_make_problem(what, (name[:70],), "write up to 64 letters, digits, _ and -, a letter first")]
    if not listed or len(listed) > MAX_INPUTS:
        what = f"the place {name!r} names no inputs, or more than {MAX_INPUTS}"
        return (), [_make_problem(what, (name,), 'write "3.seed", or a list of these')]
    inputs, problems = list[NodeInput](), list[Problem]()
    for target in listed:
        node_input, hint = _find_input(str(target), workflow)
        if node_input is None:
            problems.append(_make_problem(f"the workflow has no input {str(target)[:200]!r}", (name,), hint))
        else:
            inputs.append(node_input)
    return tuple(inputs), problems


def _find_setting(key: str, workflow: Workflow, places: Places) -> tuple[tuple[NodeInput, ...], Problem | None]:
    if "." not in key:
        if key in places:
            return places[key], None
        what, hint = f"the workflow has no place {key!r}", _suggest_place(key, places)
    else:
        target, hint = _find_input(key, workflow)
        if target is not None:
            return (target,), None
        what = f"the workflow has no input {key!r}"
    return (), Problem(code="comfyui.unknown_input", what=what, where=f"inputs.set.{key}", hint=hint)


def _find_input(text: str, workflow: Workflow) -> tuple[NodeInput | None, str | None]:
    """Find an input by `<node id>.<input>`, or say what it could have meant."""
    # Node ids of subgraphs hold colons, and input names can hold dots: the first dot separates.
    node_id, _, name = text.partition(".")
    node = workflow.get(node_id)
    if not name:
        return None, 'write it as "<node id>.<input>"'
    if node is None:
        return None, suggest_name(node_id, workflow, "the workflow's nodes are")
    if name not in node.inputs:
        return None, suggest_name(name, node.inputs, f"{node.class_type} has")
    return NodeInput(node=node_id, input=name), None


def _suggest_place(name: str, places: Places) -> str:
    if name in _FIELDS:
        return f'write `{name}` as an input of its own, next to `set`, or name it under "{PLACES}" in the workflow'
    return suggest_name(name, places, 'write it as "<node id>.<input>", or name a place; the workflow\'s are')


def suggest_name(name: str, known: Collection[str], lead: str) -> str:
    """Name what was probably meant, or list what there is."""
    return did_you_mean(name, known, otherwise=f"{lead}: {', '.join(sorted(known)[:20]) or 'none'}")


def _make_problem(what: str, path: tuple[str, ...], hint: str | None) -> Problem:
    return Problem(code="comfyui.places", what=what, where=".".join(("inputs.workflow", PLACES, *path)), hint=hint)
