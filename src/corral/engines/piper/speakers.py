"""The speakers of a Piper voice, as the file next to it describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from corral.work import TaskInvalidError


def read_voice(model: Path) -> Mapping[str, Any]:  # Any: JSON
    """Return the description next to a voice. Raises: TaskInvalidError when there is none."""
    path = Path(f"{model}.json")
    try:
        described: object = json.loads(path.read_bytes())
    except OSError as error:
        raise TaskInvalidError(f"the voice {model.name!r} has no '.json' file next to it") from error
    except ValueError as error:
        raise TaskInvalidError(f"{path.name!r} is not JSON") from error
    return cast("Mapping[str, Any]", described) if isinstance(described, dict) else {}  # keys of JSON are text


def check_speaker(described: Mapping[str, Any], speaker: int | None, *, voice: str) -> None:  # Any: as above
    """Refuse a speaker that the voice does not have, which Piper ignores. Raises: TaskInvalidError."""
    count = described.get("num_speakers")
    if speaker is not None and isinstance(count, int) and speaker >= max(1, count):
        what = f"speaker {speaker} is asked for, and {voice!r} has {count}, numbered from 0"
        raise TaskInvalidError(what, hint="choose another speaker, or another voice")


def list_voices(model: Path) -> dict[str, int]:
    """Return the names of a voice's speakers, by their names; empty where it has one. Raises: TaskInvalidError."""
    speakers: object = read_voice(model).get("speaker_id_map")
    named = cast("Mapping[str, object]", speakers).items() if isinstance(speakers, dict) else ()
    return {name: number for name, number in named if isinstance(number, int)}
