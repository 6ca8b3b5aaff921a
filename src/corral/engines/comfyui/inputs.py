"""The inputs of a `comfyui` task, and the engine's options in the cluster file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from corral.engines.comfyui.filling import Changes, find_problems
from corral.engines.comfyui.node_inputs import Field as WorkflowField
from corral.engines.schema import EngineInputs, EngineOptions
from corral.work import Json

MAX_TEXT = 100_000
"""Characters of one prompt; text encoders read a few hundred tokens."""

SMALLEST_SIDE, LARGEST_SIDE = 8, 16384
"""Pixels; ComfyUI's latents take 16 and more, its own nodes at most 16384 (`MAX_RESOLUTION`)."""


_SECRETS = frozenset({"api_key_comfy_org", "auth_token_comfy_org"})
"""Entries of `extra_data` that pay for nodes of Comfy's own services (`SENSITIVE_EXTRA_DATA_KEYS` of ComfyUI)."""


class ComfyUiInputs(EngineInputs):
    """Inputs of `comfyui`: a workflow in API format, and what this task changes in it.

    `prompt` to `lora_strength` set the places of their names (`corral.engines.comfyui.places`); `set` names a place or
    an input itself, is applied last and wins. A value `{"file": "portrait.png"}` anywhere in the workflow or in
    `set` stands for a file of the task, which is uploaded.
    """

    workflow: dict[str, Any] = Field(
        description="The workflow as ComfyUI's Export (API) writes it: node id to class and inputs. `places` next to "
        'the nodes names inputs: `{"seed": "3.seed", "strength": ["10.strength_model"]}`.'
    )  # Any: only ComfyUI knows what its nodes take
    settings: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        alias="set",
        max_length=1000,
        description='Places and node inputs to set: `{"strength": 0.8, "10.image": {"file": "portrait.png"}}`.',
    )  # Any: as above
    prompt: str | None = Field(None, max_length=MAX_TEXT, description="The positive prompt.")
    negative: str | None = Field(None, max_length=MAX_TEXT, description="The negative prompt.")
    seed: int | Literal["random"] | None = Field(
        None,
        description="A seed, or `random` for one derived from the task: each task another, each attempt the same. "
        "When absent the workflow's own stays, unless it is negative, which means `random` too.",
    )
    width: int | None = Field(None, ge=SMALLEST_SIDE, le=LARGEST_SIDE, description="Width of the image in pixels.")
    height: int | None = Field(None, ge=SMALLEST_SIDE, le=LARGEST_SIDE, description="Height of the image in pixels.")
    size: str | None = Field(
        None, pattern=r"^[0-9]{1,5}x[0-9]{1,5}$", description="Width and height in one: `832x1216`."
    )
    batch: int | None = Field(None, ge=1, le=4096, description="Images that one run makes.")
    steps: int | None = Field(None, ge=1, le=10000, description="Sampling steps.")
    cfg: float | None = Field(None, ge=0, le=100, description="How closely the sampler keeps to the prompt.")
    sampler: str | None = Field(None, min_length=1, max_length=200, description="The sampler: `euler`, `dpmpp_2m`.")
    scheduler: str | None = Field(None, min_length=1, max_length=200, description="The scheduler: `karras`, `simple`.")
    lora: str | None = Field(
        None, min_length=1, max_length=1000, description="The file that the workflow's LoRA loader loads."
    )
    lora_strength: float | None = Field(
        None, ge=-100, le=100, description="The strength of that LoRA, for the model and the text encoder."
    )
    extra_data: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        max_length=100,
        description="Sent along with the prompt: `extra_pnginfo`, which is written into pictures, `preview_method`, "
        "and what custom nodes read.",
    )  # Any: as above
    outputs: Literal["saved", "previews", "all"] = Field(
        "saved",
        description="Which files to keep: those that the workflow saves (its previews where it saves none), only the "
        "previews, or both.",
    )
    allow_partial: bool = Field(
        False, description="Run a workflow of which ComfyUI refuses some outputs, and do without those."
    )

    def list_changes(self) -> Changes:
        """Return the workflow, and what this task changes in it."""
        fields: dict[WorkflowField, Json] = {field: getattr(self, field) for field in get_args(WorkflowField)}
        if self.size is not None:
            fields["width"], fields["height"] = (int(part) for part in self.size.split("x"))
        return Changes(workflow=self.workflow, fields=fields, settings=self.settings)

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Say what keeps the fields from fitting the workflow; its files are known only when it runs."""
        try:
            inputs = cls.model_validate(dict(given))
        except ValidationError:
            return
        if inputs.size is not None:
            yield from _find_size_conflicts(inputs.size, given)
        for name in _SECRETS & inputs.extra_data.keys():
            yield f"`extra_data` has {name!r}, and what a task has is stored; name the key's variable in `comfyKeyFrom`"
        for problem in find_problems(inputs.list_changes()):
            yield f"{problem.what} ({problem.where}); {problem.hint}" if problem.hint else problem.what


def _find_size_conflicts(size: str, given: Mapping[str, Any]) -> Iterable[str]:  # Any: as above
    if "width" in given or "height" in given:
        yield f"`size` is {size}, and width or height is set too; keep one of the two"
    if not all(SMALLEST_SIDE <= int(side) <= LARGEST_SIDE for side in size.split("x")):
        yield f"a side has {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, and `size` is {size}; write one such as 832x1216"


class ComfyUiOptions(EngineOptions):
    """Settings of `comfyui` in the cluster file."""

    reconnect_seconds: float = Field(
        90, ge=0, le=3600, description="How long an instance can be away while it owes a task its images."
    )
    comfy_key_from: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="The environment variable that holds a key of comfy.org, for nodes of its services; sent along "
        "with each prompt.",
    )
