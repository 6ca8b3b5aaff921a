"""Measures pictures: `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corral.engines.inspect.measuring import (
    HASH_SIDE,
    LARGEST_SIDE,
    Brightness,
    hash_picture,
    measure_sharpness,
)
from corral.engines.pictures import PictureError, decode_picture
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


class Inspect:
    """The engine inside its worker."""

    has_children = False

    def __init__(self, settings: WorkerSettings) -> None:
        del settings

    def run(self, job: Job, talk: Talk) -> Answer:
        """Measure one picture; a file that is not a picture is an answer, too."""
        del talk  # it takes 30 ms
        ((_, path),) = job.files.items()
        return Answer(values=measure(path))

    def stop(self) -> None:
        """Nothing: it starts no programs."""


def measure(path: Path) -> dict[str, Any]:  # Any: JSON
    """Return the measures of a file, by name."""
    try:
        frame = decode_picture(path)
    except PictureError:
        return {"decodable": 0}
    scale = min(1.0, LARGEST_SIDE / max(frame.width, frame.height))
    picture = _read_brightness(frame, max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    return {
        "decodable": 1,
        "width": frame.width,
        "height": frame.height,
        "spread": round(float(picture.std()), 3),
        "brightness": round(float(picture.mean()), 3),
        "sharpness": round(measure_sharpness(picture), 3),
        "phash": hash_picture(_read_brightness(frame, HASH_SIDE, HASH_SIDE)),
    }


def _read_brightness(frame: VideoFrame, width: int, height: int) -> Brightness:
    return frame.reformat(width, height, format="gray", interpolation="AREA").to_ndarray().astype(np.float64)
