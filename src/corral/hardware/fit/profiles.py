"""The needs of models whose headers do not have them: images, video, speech. Declared, each with its source.

What such a model takes depends on the program, the size of the picture and the batch; a profile names those that it was
measured or stated for. A model without a public source is not here.
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
_FLUX = "peak memory in huggingface.co/blog/diffusers-quantization (FLUX.1-dev, diffusers, everything on the GPU)"
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
    _profile("flux.1-dev bf16", "flux.1-dev", "flux.1", "flux", "flux.1 fp16", "flux.1-dev fp16", engines=_IMAGES,
             size=36.166 * _GB, source=_FLUX),
    _profile("flux.1-dev fp8", "flux.1 fp8", "flux fp8", engines=_IMAGES, size=21.488 * _GB,
             source=f"{_FLUX}; torchao float8 weights"),
    _profile("flux.1-dev gguf q8_0", "flux.1 gguf", "flux.1-dev q8_0", "flux gguf", engines=_IMAGES, size=25.973 * _GB,
             source=f"{_FLUX}; GGUF Q8_0"),
    _profile("flux.1-dev gguf q4_1", "flux.1-dev q4_1", engines=_IMAGES, size=21.326 * _GB,
             source=f"{_FLUX}; GGUF Q4_1 (the text encoder stays in 16 bits)"),
    _profile("flux.1-dev fp8 offloaded", engines=_IMAGES, size=12.348 * _GB,
             source=f"{_FLUX}; torchao float8, parts moved to the CPU while unused"),
    _profile("sdxl", "sdxl 1.0", "stable diffusion xl", "sd_xl_base_1.0", engines=_IMAGES, size=8 * _GB,
             source="willitrunai.com/image-models/sdxl-1-0: FP16 at 1024 x 1024 takes 8.0 GB"),
    _profile("sd1.5", "stable diffusion 1.5", "sd 1.5", "sd15", engines=_IMAGES, size=4 * _GB,
             source="hivenet.com, Stable Diffusion requirements: 4 GB is the minimum for basic use"),
    _profile("sd3.5-large", "stable diffusion 3.5 large", "sd3.5", engines=_IMAGES, size=18 * _GB,
             source="NVIDIA with Stability AI, as reported by epium.com: more than 18 GB for SD 3.5 Large"),
    _profile("animatediff", engines=_IMAGES, size=12 * _GB,
             source="guoyww/AnimateDiff docs/animatediff.md: about 12 GB to infer 16 frames of 512 pixels"),
    _profile("wan2.1-t2v-1.3b", "wan2.1", "wan2.1 1.3b", engines=_IMAGES, size=8.19 * _GB,
             source="Wan-Video/Wan2.1 README.md: the T2V-1.3B model requires 8.19 GB"),
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
