"""Reads the bodies of ComfyUI's clients; pure.

Clients send JSON under any content type: the official example as `application/x-www-form-urlencoded`, SillyTavern as
`text/plain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from uuid import uuid4

from corral.gateway.comfyui.validating import Describe, make_error
from corral.gateway.comfyui.workshop import FileName
from corral.gateway.parsing import parse_kept
from corral.narrowing import as_list, as_object
from corral.work import Json

LONGEST_ID = 200
"""Characters of a prompt's id; ComfyUI's own are 36."""
LARGEST_NUMBER = 1e15
"""Above and below 0; clients count milliseconds at most."""
FRONT = -1.0
"""The number of a prompt that goes before all that wait, as ComfyUI's page writes `front`."""
LONGEST_NAME = 400
"""Characters of a text that can be the name of a file."""
_SECRETS = frozenset({"api_key_comfy_org", "auth_token_comfy_org"})
"""Entries of `extra_data` that pay for services of Comfy: what a task has is stored, so these are not kept."""


class RefusedError(Exception):
    """A body that ComfyUI would refuse; `error` has its four keys."""

    def __init__(self, error: Mapping[str, Json], node_errors: Mapping[str, Json] | None = None) -> None:
        super().__init__(str(error.get("message")))
        self.error = dict(error)
        self.node_errors = dict(node_errors or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptAsked:
    """The body of `POST /prompt`."""

    id: str
    client: str | None
    workflow: Mapping[str, Json]
    extra_data: Mapping[str, Json]
    number: float | None = None
    precedence: int = 0
    is_first: bool = False
    """As those of `NewPrompt`."""
    targets: tuple[str, ...] = ()


def read_json(body: bytes) -> dict[str, Json]:
    """Return the object that a body is; an empty one for an empty body. Raises: RefusedError."""
    if not body.strip():
        return {}
    try:
        value = parse_kept(body)
    except ValueError as error:
        raise RefusedError(make_error("invalid_json", "The body is not JSON", str(error))) from error
    if not isinstance(value, dict):
        raise RefusedError(make_error("invalid_json", "The body is not a JSON object"))
    return as_object(value)


def read_prompt(body: bytes) -> PromptAsked:
    """Read a prompt. Raises: RefusedError."""
    asked = read_json(body)
    workflow = asked.get("prompt")
    if not isinstance(workflow, dict) or not workflow:
        kind = "prompt_no_outputs" if workflow == {} else "no_prompt"
        message = "Prompt has no outputs" if workflow == {} else "No prompt provided"
        raise RefusedError(make_error(kind, message, "" if workflow == {} else message))
    extra = {key: value for key, value in as_object(asked.get("extra_data")).items() if key not in _SECRETS}
    client = asked.get("client_id") or extra.pop("client_id", None)
    number = _read_number(asked)
    return PromptAsked(
        id=_read_id(asked.get("prompt_id")),
        client=client if isinstance(client, str) else None,
        workflow=as_object(workflow),
        extra_data=extra,
        number=number,
        precedence=0 if number is None or number == FRONT else -floor(number),
        is_first=number == FRONT,
        targets=tuple(str(target) for target in as_list(asked.get("partial_execution_targets"))),
    )


def _read_id(given: Json) -> str:
    if given is None:
        return str(uuid4())
    if isinstance(given, str) and 0 < len(given) <= LONGEST_ID and given.isascii() and given.isprintable():
        return given
    details = f"an id is 1 to {LONGEST_ID} printable ASCII characters, such as a UUID"
    raise RefusedError(make_error("invalid_prompt_id", "Invalid prompt_id", details))


def _read_number(asked: Mapping[str, Json]) -> float | None:
    number = asked.get("number")
    if isinstance(number, str):
        try:
            number = float(number)
        except ValueError:
            number = None
    if isinstance(number, int | float) and not isinstance(number, bool):
        if not -LARGEST_NUMBER <= number <= LARGEST_NUMBER:
            raise RefusedError(
                make_error("invalid_number", "Invalid number", f"{number!r:.40} is not a place in a queue")
            )
        return float(number)
    return FRONT if asked.get("front") else None


def find_parts(workflow: Mapping[str, Json], outputs: Sequence[str]) -> dict[str, Json]:
    """Return the nodes that outputs need, themselves included."""
    needed: set[str] = set()
    left = list(outputs)
    while left:
        node_id = left.pop()
        if node_id in needed or node_id not in workflow:
            continue
        needed.add(node_id)
        for value in as_object(as_object(workflow[node_id]).get("inputs")).values():
            link = as_list(value)
            if len(link) == 2 and isinstance(link[0], str | int):
                left.append(str(link[0]))
    return {node_id: node for node_id, node in workflow.items() if node_id in needed}


def find_ends(workflow: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the nodes that no other node takes anything from: the outputs, where the nodes are unknown."""
    taken = {
        str(as_list(value)[0])
        for node in workflow.values()
        for value in as_object(as_object(node).get("inputs")).values()
        if len(as_list(value)) == 2
    }
    return tuple(node_id for node_id in workflow if node_id not in taken)


def find_file_names(workflow: Mapping[str, Json], describe: Describe) -> list[FileName]:
    """List the inputs whose text can be the name of a file: any short one, but for the lines that people write."""
    names: list[FileName] = []
    for node_id, content in workflow.items():
        node = as_object(content)
        groups = as_object((describe(str(node.get("class_type"))) or {}).get("input"))
        configs = {**as_object(groups.get("optional")), **as_object(groups.get("required"))}
        for name, value in as_object(node.get("inputs")).items():
            config = as_list(configs.get(name))
            settings = as_object(config[1]) if len(config) > 1 else {}
            if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and not settings.get("multiline"):
                path, folder = split_annotation(value)
                names.append(FileName(node_id, name, folder, path))
    return names


def split_annotation(value: str) -> tuple[str, str]:
    """Return name and folder of a file as nodes name it: `portrait.png`, `ComfyUI_00001_.png [output]`."""
    for folder in ("input", "output", "temp"):
        if value.endswith(f" [{folder}]"):
            return value.removesuffix(f" [{folder}]"), folder
    return value, "input"
