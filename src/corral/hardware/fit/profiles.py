"""The needs of models whose headers do not have them: speech and some images. Declared, each with its source.

What such a model takes depends on the program, the size of the picture and the batch; a profile names those that it was
measured or stated for. A model without a public source is not here. Image and video models that load in parts are
`pipelines`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from corral.engine_kinds import CHATTERBOX, COMFYUI, COMMAND, WHISPER
from corral.figures import Figure, Origin

_MIB = 2**20
_GB = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of model with one way of running it."""

    name: str
    aliases: tuple[str, ...]
    """Other names, compared without case, `-`, `_`, `.` and spaces."""
    engines: tuple[str, ...]
    memory: Figure
    """On one GPU, everything included that its source counted."""


def _profile(name: str, *aliases: str, engines: tuple[str, ...], size: float, source: str) -> Profile:
    memory = Figure(value=size, unit="B", origin=Origin.DECLARED, source=source)
    return Profile(name=name, aliases=aliases, engines=engines, memory=memory)


_WHISPER = "required VRAM in openai/whisper README.md, table of models (PyTorch; faster-whisper takes less)"
_FASTER = "maximum GPU memory in SYSTRAN/faster-whisper issue 1030 (fp16, beam size 5, RTX 2080 Ti)"
_IMAGES = (COMFYUI.name,)
_TRANSCRIPTION = (WHISPER.name,)
_VOICE = (CHATTERBOX.name, COMMAND.name, "backend")
PROFILES: tuple[Profile, ...] = (
    _profile(
        "whisper-tiny", "tiny", "tiny.en", "whisper-tiny.en", engines=_TRANSCRIPTION, size=1 * _GB, source=_WHISPER
    ),
    _profile(
        "whisper-base", "base", "base.en", "whisper-base.en", engines=_TRANSCRIPTION, size=1 * _GB, source=_WHISPER
    ),
    _profile(
        "whisper-small", "small", "small.en", "whisper-small.en",
        engines=_TRANSCRIPTION, size=2 * _GB, source=_WHISPER,
    ),
    _profile(
        "whisper-medium", "medium", "medium.en", "whisper-medium.en",
        engines=_TRANSCRIPTION, size=5 * _GB, source=_WHISPER,
    ),
    _profile(
        "whisper-large-v3", "large-v3", "large", "whisper-large",
        engines=_TRANSCRIPTION, size=4521 * _MIB, source=_FASTER,
    ),
    _profile(
        "whisper-large-v3-turbo", "large-v3-turbo", "turbo", "whisper-turbo",
        engines=_TRANSCRIPTION, size=2537 * _MIB, source=_FASTER,
    ),
    _profile(
        "whisper-distil-large-v3", "distil-large-v3", engines=_TRANSCRIPTION, size=2409 * _MIB, source=_FASTER
    ),
    _profile("sd1.5", "stable diffusion 1.5", "sd 1.5", "sd15", engines=_IMAGES, size=4 * _GB,
             source="hivenet.com, Stable Diffusion requirements: 4 GB is the minimum for basic use"),
    _profile("animatediff", engines=_IMAGES, size=12 * _GB,
             source="guoyww/AnimateDiff docs/animatediff.md: about 12 GB to infer 16 frames of 512 pixels"),
    _profile("chatterbox", "chatterbox-tts", engines=_VOICE, size=3606 * _MIB,
             source="shinshin86/local-tts-on-google-colab pull request 43: 3,606 MiB seen on an L4 after synthesis"),
    _profile("xtts-v2", "xtts", "xtts_v2", engines=_VOICE, size=2.1 * _GB,
             source="coqui-ai/TTS issue 3976: 2.1 GB seen once the model is loaded"),
)  # fmt: skip


def find_profile(model: str) -> Profile | None:
    """Find the profile that a name means; None when there is none."""
    wanted = _simplify(model)
    for profile in PROFILES:
        if wanted in {_simplify(name) for name in (profile.name, *profile.aliases)}:
            return profile
    return None


def _simplify(name: str) -> str:
    return re.sub(r"[\s_.\-]+", "", name.lower())
