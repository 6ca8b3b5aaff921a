"""Checks of pictures that need a model: faces (NudeNet's detector), and how likely it is not safe for work (open_nsfw).

Which of the two a file of ONNX is shows in its inputs.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort

from corral.engines.onnx.pictures import Numbers, Pixels, resize
from corral.work import EngineError, TaskInvalidError

_DETECTOR_SIDE = 320
_FACE = "FACE_"
_MOST_OVERLAP = 0.45
"""Of two boxes, the one with the lower score is left out above it; as NudeNet's own program has it."""
_RATER_SIDE, _RATER_CROP = 256, 224
_RATER_MEANS = np.array([104, 117, 123], np.float32)
"""Blue, green, red: subtracted, as in open_nsfw's own program."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture."""

    box: tuple[int, int, int, int]
    """Left, top, width and height, in pixels."""
    score: float
    label: str


class Detector:
    """A model of ONNX that is in memory."""

    def __init__(self, network: Path, threads: int) -> None:
        """Load it. Raises: EngineError, TaskInvalidError where it is neither of the two."""
        options = cast("Any", ort.SessionOptions())  # Any: a class of C++, of which the stubs know nothing
        options.intra_op_num_threads = threads
        try:
            session = cast("Any", ort.InferenceSession(str(network), options, providers=["CPUExecutionProvider"]))
        except Exception as error:
            raise EngineError(f"onnxruntime could not load {network.name!r}: {error}") from error
        self._session = session
        entry = session.get_inputs()[0]
        self._input, shape = entry.name, list(entry.shape)
        self._labels = _read_labels(session.get_modelmeta().custom_metadata_map)
        self._rates = shape[1:] == [_RATER_CROP, _RATER_CROP, 3]
        if not self._rates and not (self._labels and len(shape) == 4 and shape[1] == 3):
            what = f"{network.name!r} neither finds faces nor rates pictures: its input is {shape}"
            raise TaskInvalidError(what, hint="use `nudenet-320n` or `open-nsfw`")

    def check(self, picture: Pixels, least_score: float) -> dict[str, Any]:  # Any: JSON
        """Return what the model measures of a picture. Raises: EngineError."""
        if self._rates:
            return {"nsfw": round(self._rate(picture), 4)}
        faces = self._find_faces(picture, least_score)
        return {"faces": len(faces), "face_score": faces[0].score if faces else 0.0, "boxes": list(map(asdict, faces))}

    def _rate(self, picture: Pixels) -> float:
        small = resize(picture.astype(np.float32), _RATER_SIDE, _RATER_SIDE)
        edge = (_RATER_SIDE - _RATER_CROP) // 2
        inner = small[edge : edge + _RATER_CROP, edge : edge + _RATER_CROP, ::-1] - _RATER_MEANS
        return float(self._compute(inner[None])[0, 1])

    def _find_faces(self, picture: Pixels, least_score: float) -> list[Face]:
        height, width, _ = picture.shape
        scale = _DETECTOR_SIDE / max(height, width)
        sides = max(1, round(height * scale)), max(1, round(width * scale))
        canvas = np.zeros((_DETECTOR_SIDE, _DETECTOR_SIDE, 3), np.float32)
        canvas[: sides[0], : sides[1]] = resize(picture.astype(np.float32), *sides) / 255
        answers = self._compute(np.ascontiguousarray(canvas.transpose(2, 0, 1))[None])[0].T
        scores = answers[:, 4:]
        best = scores.argmax(axis=1)
        faces: list[Face] = []
        for row in np.argsort(-scores.max(axis=1), kind="stable"):
            score, label = float(scores[row, best[row]]), self._labels.get(int(best[row]), "")
            if score < least_score:
                break
            if label.startswith(_FACE):
                box = _clip(answers[row, :4] / scale, width, height)
                if all(_measure_overlap(box, face.box) <= _MOST_OVERLAP for face in faces):
                    faces.append(Face(box, round(score, 4), label))
        return faces

    def _compute(self, numbers: Numbers) -> Numbers:
        try:
            return np.asarray(self._session.run(None, {self._input: numbers.astype(np.float32)})[0], np.float32)
        except Exception as error:
            raise EngineError(f"onnxruntime failed: {error}") from error


def _read_labels(facts: Mapping[str, str]) -> dict[int, str]:
    """Return the words for what a detector finds, which Ultralytics writes into a file as a dict of Python."""
    try:
        names: object = ast.literal_eval(facts.get("names", "{}"))
    except (ValueError, SyntaxError):
        return {}
    if not isinstance(names, dict):
        return {}
    return {int(number): str(label) for number, label in cast("dict[int, str]", names).items()}


def _clip(box: Numbers, width: int, height: int) -> tuple[int, int, int, int]:
    """Return a box that is given by its centre as left, top, width and height, inside of the picture."""
    x, y, w, h = (float(number) for number in box)
    left, top = max(0, round(x - w / 2)), max(0, round(y - h / 2))
    return left, top, min(width, round(x + w / 2)) - left, min(height, round(y + h / 2)) - top


def _measure_overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Return the share of two boxes' common area in that of both together."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(0, across) * max(0, down)
    return common / (a[2] * a[3] + b[2] * b[3] - common) if common else 0.0
