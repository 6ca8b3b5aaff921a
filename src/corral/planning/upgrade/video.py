"""Video encoders and decoders of the machines that change: engines, codecs and sessions, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corral.hardware.video import VideoEngines, find_video
from corral.planning.upgrade.hardware import Hardware, NodeGpu, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSide:
    """Encoders, decoders and codecs of the GPUs of a machine together."""

    encoders: int | None
    """None is unknown: a model's is."""
    decoders: int | None
    encodes: tuple[str, ...]
    """Codecs that at least one GPU encodes."""
    decodes: tuple[str, ...]
    sessions: tuple[str, ...]
    """Each once."""
    unknown: tuple[str, ...]
    """GPUs of which nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoComparison:
    """A machine; None where it is not there."""

    node: str
    before: VideoSide | None
    after: VideoSide | None

    @property
    def gained(self) -> tuple[str, ...]:
        """Return the codecs that are encoded afterwards alone."""
        return _subtract(self.after, self.before)

    @property
    def lost(self) -> tuple[str, ...]:
        """Return the codecs that are no longer encoded."""
        return _subtract(self.before, self.after)


def compare_video(hardware: Hardware) -> tuple[VideoComparison, ...]:
    """Compare the machines whose GPUs change."""
    return tuple(
        VideoComparison(node=node.name, before=_add_up(node.before), after=_add_up(node.after))
        for node in hardware.changed
    )


def _add_up(side: Side | None) -> VideoSide | None:
    if side is None:
        return None
    engines = [(gpu, find_video(gpu.facts)) for gpu in side.gpus]
    known = [video for _, video in engines if video is not None]
    return VideoSide(
        encoders=_sum([video.encoders if video else None for _, video in engines]),
        decoders=_sum([video.decoders if video else None for _, video in engines]),
        encodes=_list_once(known, "encodes"),
        decodes=_list_once(known, "decodes"),
        sessions=tuple(dict.fromkeys(video.sessions for video in known if video.encodes)),
        unknown=tuple(_name(gpu) for gpu, video in engines if video is None),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _list_once(known: Sequence[VideoEngines], part: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(codec for video in known for codec in getattr(video, part)))


def _name(gpu: NodeGpu) -> str:
    return f"{gpu.name} ({gpu.title})"


def _subtract(side: VideoSide | None, other: VideoSide | None) -> tuple[str, ...]:
    there = other.encodes if other else ()
    return tuple(codec for codec in (side.encodes if side else ()) if codec not in there)
