"""The inputs of a `comfyui` task, and the engine's options in the cluster file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from corral.engines.comfyui.filling import Changes, find_problems
from corral.engines.comfyui.placing import Field as WorkflowField
from corral.engines.schema import EngineInputs, EngineOptions
from corral.work import Json

MAX_TEXT = 100_000
"""Characters of one prompt; text encoders read a few hundred tokens."""


class ComfyUiInputs(EngineInputs):
    """Inputs of `comfyui`: a workflow in API format, and what this task changes in it.

    `prompt` to `steps` find their place in the workflow by the rules in `corral.engines.comfyui.placing`; `set` names
    the place itself, is applied last and wins. A value `{"file": "portrait.png"}` anywhere in the workflow or in `set`
    stands for a file of the task, which is uploaded.
    """

    workflow: dict[str, Any] = Field(
        description="The workflow as ComfyUI's Export (API) writes it: node id to class and inputs."
    )  # Any: only ComfyUI knows what its nodes take
    settings: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        alias="set",
        max_length=1000,
        description='Node inputs to set: `{"6.text": "a red fox", "10.image": {"file": "portrait.png"}}`.',
    )  # Any: as above
    prompt: str | None = Field(None, max_length=MAX_TEXT, description="The positive prompt.")
    negative: str | None = Field(None, max_length=MAX_TEXT, description="The negative prompt.")
    seed: int | Literal["random"] | None = Field(
        None,
        description="A seed, or `random` for one derived from the task: each task another, each attempt the same. "
        "When absent the workflow's own stays, unless it is negative, which means `random` too.",
    )
    width: int | None = Field(None, ge=8, le=16384, description="Width of the image in pixels.")
    height: int | None = Field(None, ge=8, le=16384, description="Height of the image in pixels.")
    steps: int | None = Field(None, ge=1, le=10000, description="Sampling steps.")
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
        return Changes(workflow=self.workflow, fields=fields, settings=self.settings)

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Say what keeps the fields from fitting the workflow; its files are known only when it runs."""
        try:
            inputs = cls.model_validate(dict(given))
        except ValidationError:
            return
        for problem in find_problems(inputs.list_changes()):
            yield f"{problem.what} ({problem.where}); {problem.hint}" if problem.hint else problem.what


class ComfyUiOptions(EngineOptions):
    """Settings of `comfyui` in the cluster file."""

    reconnect_seconds: float = Field(
        90, ge=0, le=3600, description="How long an instance can be away while it owes a task its images."
    )
