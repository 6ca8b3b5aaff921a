"""The answers about engines and their instances, as OpenAPI describes them."""

from __future__ import annotations

from pydantic import Field, JsonValue

from corral.server.api.schemas import Answer, ProblemOut


class FileRuleOut(Answer):
    """The files that a task can hand to an engine."""

    minimum: int
    maximum: int | None = Field(description="null is any number")
    summary: str


class EngineOut(Answer):
    """An engine, where it runs, and what it takes."""

    name: str
    summary: str
    enabled: bool
    slots: list[str]
    problems: dict[str, str] = Field(description="slots where it should run and cannot, with the reason")
    inputs: dict[str, JsonValue] = Field(description="JSON Schema of a task's inputs")
    needs_model: bool
    admin_only: bool = Field(description="whether only administrators can submit its tasks")
    text_input: str | None = Field(description="the input that a batch file's `prompts` fill; null: it takes none")
    seed_input: str | None = Field(description="the input that makes its work another each time: `options.seed`")
    object_inputs: list[str] = Field(description="inputs that are objects of some size, such as workflows")
    files: FileRuleOut


class Engines(Answer):
    """Every engine that Corral knows."""

    items: list[EngineOut]


class InstanceCheck(Answer):
    """Parts and models that one instance lacks for a task."""

    instance: str
    url: str | None = Field(description="where it answers; null while Corral does not run its server")
    missing: list[ProblemOut] = Field(description="the first 100 things that it lacks; `what` is a noun phrase")
    left_out: int = Field(description="how many more it lacks, counted up to 10,000")
    away: ProblemOut | None = Field(description="why it could not be asked; null when it answered")


class InstanceChecks(Answer):
    """Every instance of an engine."""

    items: list[InstanceCheck]


class WorkflowOut(Answer):
    """A converted workflow."""

    instance: str = Field(description="the instance that was asked what its nodes take")
    workflow: dict[str, JsonValue] = Field(description="as tasks take it")
    notes: list[ProblemOut] = Field(description="what the editor's page would have resolved, left as it is")
