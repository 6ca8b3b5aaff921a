"""The inputs of a `trainer` task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from corral.engines.schema import EngineInputs
from corral.engines.trainer.recipe_files import read_recipes
from corral.errors import did_you_mean
from corral.narrowing import as_object


class TrainerInputs(EngineInputs):
    """Inputs of `trainer`; the task's model is the base, its one file the data set."""

    recipe: str = Field(description="The way to train: `lm-lora`.")
    options: dict[str, int | float | str] = Field(
        default_factory=dict[str, "int | float | str"], description="Options of the recipe; its defaults when absent."
    )
    register_as: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$",
        description="The name under which other tasks use the result as a model; not registered when absent.",
    )
    checkpoint_every: int = Field(
        25, ge=1, le=1_000_000, description="Steps between checkpoints; a killed attempt loses fewer than these."
    )

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Say whether there is such a recipe, and which options are wrong."""
        name = given.get("recipe")
        recipes = read_recipes()
        if not isinstance(name, str):
            return
        if name not in recipes:
            hint = did_you_mean(name, recipes, otherwise=f"there is {', '.join(recipes)}")
            yield f"'recipe' is {name!r}: {hint}"
            return
        yield from recipes[name].find_problems(as_object(given.get("options")))
