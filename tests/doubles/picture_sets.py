"""Set files for tests: characters written in the set, and a workflow that the double of ComfyUI runs."""

from __future__ import annotations

from typing import Any

from doubles.comfyui_workflows import text_to_image

SHOTS = {"portrait": "head and shoulders", "smile": "smiling", "left": "from the left", "back": "from behind"}


def list_characters(count: int) -> list[dict[str, Any]]:
    """So many characters with looks."""
    return [{"name": f"queen-{number:02}", "look": f"look {number}"} for number in range(1, count + 1)]


def a_set(name: str = "night", **changed: Any) -> dict[str, Any]:
    """A set of two characters with two shots and two seeds, or whatever is changed."""
    return {
        "apiVersion": "corral/v1",
        "kind": "Set",
        "name": name,
        "characters": list_characters(2),
        "shots": dict(list(SHOTS.items())[:2]),
        "seeds": 2,
        "task": {
            "engine": "comfyui",
            "inputs": {
                "workflow": text_to_image(),
                "prompt": "{character.look}, {shot}",
                "seed": "{seed}",
                "width": 32,
                "height": 32,
            },
        },
        **changed,
    }


def a_sleeping_set(name: str = "naps", **changed: Any) -> dict[str, Any]:
    """A set for servers without instances: its tasks wait, and make no pictures."""
    asleep = {"engine": "sleep", "inputs": {"seconds": 0}, "labels": {"look": "{character.look}"}}
    characters = [{"name": "ada", "look": "red"}, {"name": "mira", "look": "blue"}]
    return {**a_set(name, characters=characters, task=asleep, checks=[]), **changed}
