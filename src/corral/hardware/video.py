"""Video encoders and decoders of NVIDIA's GPUs: codecs by generation, engines by model, sessions by family.

Sources: NVIDIA's "Video Encode and Decode GPU Support Matrix" and the NVENC and NVDEC application notes of the Video
Codec SDK 13.0; the specifications of the GeForce RTX 50 series for its numbers of engines. Engines of models that are
not in the table, and other makers' GPUs, are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from corral.hardware.catalogue import GpuModel
from corral.hardware.gpu_names import GEFORCE, name_class
from corral.hardware.makers import NVIDIA

SOURCE = "https://developer.nvidia.com/video-encode-decode-support-matrix"
"""NVIDIA's matrix; facts by model and driver."""
SESSIONS_OF_GEFORCE = "8 or more at once in the machine, by driver (3 until March 2023, 5 until January 2024)"
SESSIONS_OF_LARGE = "as many as the engines keep up with"
SESSIONS_BY_MODEL = "by model: some of this family are limited like GeForce, others not"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEngines:
    """Encoders, decoders and codecs of a GPU."""

    generation: str
    encodes: tuple[str, ...]
    """Empty: it has no encoder."""
    decodes: tuple[str, ...]
    encoders: int | None
    """None is unknown."""
    decoders: int | None
    sessions: str
    """How many streams its driver encodes at once."""


_Codecs = tuple[str, tuple[str, ...], tuple[str, ...]]  # generation, encoded, decoded
_H264, _HEVC, _HEVC_10, _AV1 = "H.264", "HEVC", "HEVC 10-bit", "AV1"
_OLD = (_H264, "MPEG-2", "VC-1")
_PASCAL = (*_OLD, "VP8", "VP9", _HEVC, _HEVC_10)
_422 = ("H.264 4:2:2", "HEVC 4:2:2")
_BY_CAPABILITY: Mapping[tuple[int, int], _Codecs] = {
    (5, 0): ("Maxwell", (_H264,), _OLD),
    (5, 2): ("second Maxwell", (_H264, _HEVC), (*_OLD, "VP8")),
    (6, 0): ("Pascal", (_H264, _HEVC, _HEVC_10), _PASCAL),
    (6, 1): ("Pascal", (_H264, _HEVC, _HEVC_10), _PASCAL),
    (7, 0): ("Volta", (_H264, _HEVC, _HEVC_10), _PASCAL),
    (7, 5): ("Turing", (_H264, _HEVC, _HEVC_10), (*_PASCAL, "HEVC 4:4:4")),
    (8, 0): ("Ampere", (), (*_PASCAL, "HEVC 4:4:4")),
    (8, 6): ("Ampere", (_H264, _HEVC, _HEVC_10), (*_PASCAL, "HEVC 4:4:4", _AV1)),
    (8, 9): ("Ada", (_H264, _HEVC, _HEVC_10, _AV1), (*_PASCAL, "HEVC 4:4:4", _AV1)),
    (9, 0): ("Hopper", (), (*_PASCAL, "HEVC 4:4:4", _AV1)),
    (12, 0): ("Blackwell", (_H264, _HEVC, _HEVC_10, _AV1, *_422), (*_PASCAL, "HEVC 4:4:4", _AV1, *_422)),
}
_GM206 = frozenset({"GM206", "GM206S"})
"""The one chip of its capability that decodes HEVC and VP9."""
_WITHOUT_ENCODER = frozenset({"GM108", "GM108S", "GP108", "GP108B"})
_MINING = re.compile(r"CMP |P10\d")
"""GPUs for mining: NVIDIA's matrix does not have them."""
_LARGE = re.compile(r"Tesla |[AL]\d+[GS]?\b|Quadro (?:RTX|GV|GP)|RTX (?:PRO|A)? ?[2-6]\d00\b")
"""Families without a limit in the matrix; smaller professional models (Quadro P620, T1000) are of both kinds."""
_ENGINES: Mapping[str, tuple[int, int]] = {
    "1060": (1, 1),
    "1080": (2, 1),
    "1080ti": (2, 1),
    "2060": (1, 1),
    "2070": (1, 1),
    "2080": (1, 1),
    "2080ti": (1, 1),
    "3060": (1, 1),
    "3060ti": (1, 1),
    "3070": (1, 1),
    "3070ti": (1, 1),
    "3080": (1, 1),
    "3080ti": (1, 1),
    "3090": (1, 1),
    "3090ti": (1, 1),
    "4060": (1, 1),
    "4060ti": (1, 1),
    "4070": (1, 1),
    "4070ti": (2, 1),
    "4070tisuper": (2, 1),
    "4080": (2, 1),
    "4080super": (2, 1),
    "4090": (2, 1),
    "5060ti": (1, 1),
    "5070": (1, 1),
    "5070ti": (2, 1),
    "5080": (2, 2),
    "5090": (3, 2),
    "t4": (1, 2),
    "p40": (2, 1),
    "a100": (0, 5),
    "h100": (0, 7),
    "l4": (2, 4),
    "l40s": (3, 3),
}
"""Encoders and decoders by the class of the model."""


def find_video(model: GpuModel | None) -> VideoEngines | None:
    """Find what a model encodes and decodes; None where that is unknown."""
    if model is None or model.vendor != NVIDIA or model.cuda_capability is None or _MINING.match(model.name):
        return None
    codecs = _BY_CAPABILITY.get(model.cuda_capability)
    if codecs is None:
        return None
    generation, encodes, decodes = codecs
    if model.chip in _GM206:
        decodes = (*decodes, "VP9", _HEVC, _HEVC_10)
    has_encoder = model.chip not in _WITHOUT_ENCODER
    engines = _ENGINES.get(re.sub(r"(pcie|sxm\d?|nvl)$", "", name_class(model.name)))
    encoders = 0 if not has_encoder or not encodes else engines[0] if engines else None
    return VideoEngines(
        generation=generation,
        encodes=encodes if has_encoder else (),
        decodes=decodes,
        encoders=encoders,
        decoders=engines[1] if engines else None,
        sessions=_find_sessions(model),
    )


def _find_sessions(model: GpuModel) -> str:
    if GEFORCE.match(model.name):
        return SESSIONS_OF_GEFORCE
    return SESSIONS_OF_LARGE if _LARGE.match(model.name) else SESSIONS_BY_MODEL
