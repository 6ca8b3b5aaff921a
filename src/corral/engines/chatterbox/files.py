"""The files of a Chatterbox model, and recordings of voices, looked at without loading or decoding anything.

Source: chatterbox-tts 0.1.7, its `tts.py`.
"""

from __future__ import annotations

import wave
from collections.abc import Mapping
from pathlib import Path

from corral.work import TaskInvalidError

WEIGHTS = ("ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors", "tokenizer.json")
BUILT_IN_VOICE = "conds.pt"
"""Can be absent: then every task needs a recording."""
REPOSITORY = "ResembleAI/chatterbox"
LEAST_SAMPLE_S, MOST_SAMPLE_S = 3.0, 60.0
"""The model looks at the first 10 s; with less than 3 s, a voice is not recognised."""
_BEGINNINGS: Mapping[str, tuple[int, bytes]] = {
    ".wav": (0, b"RIFF"),
    ".flac": (0, b"fLaC"),
    ".ogg": (0, b"OggS"),
    ".opus": (0, b"OggS"),
    ".m4a": (4, b"ftyp"),
    ".mp3": (0, b""),  # a tag, or a frame of the sound: nothing is at a known place
}
RECORDINGS = tuple(_BEGINNINGS)


def holds_weights(folder: Path) -> bool:
    """Whether a folder has all that the library loads."""
    return not _list_missing(folder)


def require_weights(folder: Path) -> None:
    """Return when a folder has all that the library loads. Raises: TaskInvalidError with each file that is missing."""
    if missing := _list_missing(folder):
        what = f"the model {folder.name!r} has no {', '.join(missing)}"
        hint = (
            f"no package carries Chatterbox's weights: put {', '.join((*WEIGHTS, BUILT_IN_VOICE))} of {REPOSITORY} on "
            "Hugging Face into one folder, and `corral models pull` that folder"
        )
        raise TaskInvalidError(what, hint=hint)


def _list_missing(folder: Path) -> list[str]:
    return [name for name in WEIGHTS if not (folder / name).is_file()]


def list_voices(folder: Path) -> dict[str, str]:
    """Return the voice that comes with the weights, as the input `voice` takes it; none where there is none."""
    return {"built-in": "built-in"} if (folder / BUILT_IN_VOICE).is_file() else {}


def check_recording(path: Path, name: str) -> None:
    """Return when a file looks like a recording of its ending. Blocks. Raises: TaskInvalidError."""
    ending = next((ending for ending in RECORDINGS if name.endswith(ending)), None)
    if ending is None:
        raise TaskInvalidError(f"{name!r} is not a recording", hint=f"send one of: {', '.join(RECORDINGS)}")
    at, beginning = _BEGINNINGS[ending]
    with path.open("rb") as source:
        if source.read(at + len(beginning))[at:] != beginning:
            raise TaskInvalidError(f"{name!r} is not a {ending} file", hint="send a recording as it was saved")
    if ending == ".wav":
        require_length(_measure_wav(path, name), name)


def require_length(seconds: float, name: str) -> None:
    """Return when a recording is long enough, and not too long. Raises: TaskInvalidError."""
    if not LEAST_SAMPLE_S <= seconds <= MOST_SAMPLE_S:
        what = f"the recording {name!r} has {seconds:.1f} s"
        raise TaskInvalidError(what, hint=f"use {LEAST_SAMPLE_S:.0f} to {MOST_SAMPLE_S:.0f} s of one person who speaks")


def _measure_wav(path: Path, name: str) -> float:
    try:
        with wave.open(str(path)) as audio:
            return audio.getnframes() / audio.getframerate()
    except (wave.Error, EOFError) as error:
        raise TaskInvalidError(f"{name!r} is not a WAV of PCM samples: {error}", hint="save it as PCM") from error
