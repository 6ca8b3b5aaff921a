"""The base of the models of inputs and options; the only place that the registry needs pydantic for.

Belongs here: the two bases and their strictness.
Does not belong here: the fields of an engine; they are in `inputs` of its folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class EngineInputs(BaseModel):
    """Base of what one engine accepts as `inputs` of a task; names are those of the task file, in snake case."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Say what is wrong between fields (one sentence each), given what the user wrote, valid or not.

        A method of its own, because pydantic's model validators stay silent while any field is wrong, and a user
        wants all problems at once.
        """
        del given
        return ()


class EngineOptions(BaseModel):
    """Base of one engine's options in the cluster file; names are in camel case there, as all of the file."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, alias_generator=to_camel, validate_by_name=False
    )


class NoOptions(EngineOptions):
    """For an engine that has nothing to set."""
