"""The node types and model files that a workflow needs, compared with those that an instance has.

An instance describes every node type in `/object_info`, with the files that it can load; an input that is a list of
files is one of its models folders. Types whose values ComfyUI checks by other means (images that were uploaded) are not
looked at.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import ValidationError

from corral.engines.comfyui.client import ComfyClient, Timings
from corral.engines.comfyui.errors import find_close_matches
from corral.engines.comfyui.filling import fill_nodes
from corral.engines.comfyui.inputs import ComfyUiInputs
from corral.engines.credentials import Credentials
from corral.engines.surveying import Need
from corral.errors import Problem
from corral.narrowing import as_list, as_object
from corral.work import Json

LOOK_S = 10.0
"""One reading of `/object_info`; an instance with two thousand node types answers with some 5 MB in a second or two."""
MAX_SUGGESTIONS = 100
"""Missing files for which names that look alike are searched: 8 ms each among 500 files; an answer names as many."""
MAX_LACKS = 10_000
"""Lacks that one comparison lists; of each further workflow, it lists one. A body of 31 MiB can name half
a million missing files, for each instance anew."""
_FOLDERS = {
    "ckpt_name": "checkpoints",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "control_net_name": "controlnet",
    "lora_name": "loras",
    "style_model_name": "style_models",
    "unet_name": "diffusion_models",
    "vae_name": "vae",
}
"""The models folder from which nodes of ComfyUI load an input (`nodes.py` and `folder_paths.py`)."""
_FOLDERS_OF_TYPES = {
    ("ADE_AnimateDiffLoaderGen1", "model_name"): "animatediff_models",
    ("ADE_LoadAnimateDiffModel", "model_name"): "animatediff_models",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
}
"""The same for inputs whose names mean something else on other nodes."""
_MODEL_ENDINGS = (".safetensors", ".ckpt", ".gguf", ".pt", ".pth", ".bin", ".sft", ".onnx", ".pkl")


class _Suggestions:
    """Files with names like those of missing ones; searched for the first `MAX_SUGGESTIONS` missing files only."""

    def __init__(self) -> None:
        self._near: dict[tuple[str, frozenset[str]], list[str]] = {}

    def find(self, file: str, files: frozenset[str]) -> list[str]:
        """Find names that look like the missing file's."""
        key = (file, files)
        if key not in self._near and len(self._near) < MAX_SUGGESTIONS:
            self._near[key] = find_close_matches(file, sorted(files))
        return self._near.get(key, [])


@dataclass(frozen=True, slots=True)
class Installed:
    """The node types of an instance; for each, by input, the model files that it can load there."""

    types: Mapping[str, Mapping[str, frozenset[str]]]
    descriptions: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    """By node type, what the instance says of it, as JSON."""

    def find_missing(self, needs: Sequence[Sequence[Need]]) -> tuple[tuple[Problem, ...], ...]:
        """List what the instance lacks of each workflow, in the order of its nodes, each once; `MAX_LACKS` in all."""
        suggestions = _Suggestions()
        lacks: list[tuple[Problem, ...]] = []
        room = MAX_LACKS
        for required in needs:
            lacks.append(self._compare(required, suggestions, max(1, room)))
            room -= len(lacks[-1])
        return tuple(lacks)

    def _compare(self, needs: Sequence[Need], suggestions: _Suggestions, most: int) -> tuple[Problem, ...]:
        problems: dict[Problem, None] = {}
        for need in needs:
            if (problem := self._judge(need, suggestions)) is not None:
                problems[problem] = None
                if len(problems) == most:
                    break
        return tuple(problems)

    def _judge(self, need: Need, suggestions: _Suggestions) -> Problem | None:
        inputs = self.types.get(need.type)
        if inputs is None and need.file is not None:
            return None  # its node's own need says that
        if inputs is None:
            return Problem(
                code="comfyui.missing_node_type",
                what=f"the node type {need.type!r}",
                where=need.where,
                hint="install the custom node that brings it, or change the workflow",
            )
        files = inputs.get(need.input or "")
        if need.file is None or files is None or need.file in files:
            return None
        near = suggestions.find(need.file, files)
        alike = f"it has {' and '.join(repr(name) for name in near)}" if near else f"{need.input} has no such file"
        return Problem(
            code="comfyui.missing_model",
            what=f"the model {need.file!r}",
            where=need.where,
            hint=f"put the file into its models folder ({alike}), or name one that is there{_suggest_placing(need)}",
        )


def _suggest_placing(need: Need) -> str:
    return f"; `corral models place SOURCE --as {need.folder}/{need.file}` puts it there" if need.folder else ""


def list_needs(inputs: Mapping[str, Json]) -> tuple[Need, ...]:
    """List what a task needs: every node type of its workflow, and every model file that it names."""
    try:
        asked = ComfyUiInputs.model_validate(dict(inputs))
    except ValidationError:
        return ()  # reported by the check of its inputs
    needs: list[Need] = []
    for node in fill_nodes(asked.list_changes()).values():
        place = f"node {node.id} ({node.class_type})"
        needs.append(Need(type=node.class_type, where=place))
        for name, value in node.inputs.items():
            if isinstance(value, str) and value.lower().endswith(_MODEL_ENDINGS):
                folder = _FOLDERS_OF_TYPES.get((node.class_type, name)) or _FOLDERS.get(name)
                where = f"{place} input {name!r}"
                needs.append(Need(type=node.class_type, input=name, file=value, folder=folder, where=where))
    return tuple(needs)


def read_installed(answer: Json) -> Installed:
    """Read `/object_info`."""
    types = as_object(answer)
    return Installed(
        types={name: _read_files(as_object(description)) for name, description in types.items()},
        descriptions={
            name: json.dumps(description, separators=(",", ":")).encode() for name, description in types.items()
        },
    )


def _read_files(description: Mapping[str, Json]) -> dict[str, frozenset[str]]:
    groups = as_object(description.get("input"))
    inputs = {**as_object(groups.get("required")), **as_object(groups.get("optional"))}
    lists = {name: _read_choices(as_list(config)) for name, config in inputs.items()}
    return {name: files for name, files in lists.items() if files is not None}


def _read_choices(config: Sequence[Json]) -> frozenset[str] | None:
    """Return the files of an input that lists model files, also of an empty list; None for any other input."""
    settings = as_object(config[1]) if len(config) > 1 else {}
    listed = cast("Json", config[0]) if config and isinstance(config[0], list) else settings.get("options")
    if not isinstance(listed, list) or any(key.endswith("_upload") for key in settings):
        return None
    choices = [choice for choice in as_list(cast("Json", listed)) if isinstance(choice, str)]
    files = frozenset(choice for choice in choices if choice.lower().endswith(_MODEL_ENDINGS))
    return files if files or not choices else None


async def look(
    url: str,
    options: Mapping[str, Any],  # JSON from the cluster file, not used here
    credentials: Credentials,
) -> Installed:
    """Ask an instance what it has. Raises: EngineUnavailableError."""
    client = ComfyClient(url, timings=Timings(), credentials=credentials)
    try:
        answer = await client.get("/object_info", within_s=LOOK_S)
        return await asyncio.to_thread(read_installed, answer)
    finally:
        await client.close()
