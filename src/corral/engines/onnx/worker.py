"""Makes, enlarges and checks pictures: `onnx`. What is done is the model's, which shows in its files.

Belongs here: one model at a time, one task at a time, its files in and out.
Does not belong here: pictures as files (`pictures`), the models (`faces`, `upscaling`, `detecting`), what is measured
without one (`corral.engines.inspect`).
"""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corral.engines.onnx.detecting import Detector
from corral.engines.onnx.faces import FaceGenerator
from corral.engines.onnx.pictures import Pixels, PngWriter, read_picture, write_png
from corral.engines.onnx.upscaling import Upscaler
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.units import Bytes
from corral.work import OutputFile, TaskInvalidError

_SEEDS = 2**32
_Model = FaceGenerator | Upscaler | Detector


class Onnx:
    """The engine inside its worker."""

    has_children = False

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._loaded: tuple[Path, _Model] | None = None

    def run(self, job: Job, talk: Talk) -> Answer:
        """Do one task. Raises: EngineError, Cancelled."""
        match self._ensure_loaded(job, talk):
            case FaceGenerator() as generator:
                return _draw(generator, job, talk)
            case Upscaler() as upscaler:
                return _enlarge(upscaler, self._read_picture(job), job, talk)
            case detector:
                talk.report_progress(None, "checking")
                return _answer_check(job, detector.check(self._read_picture(job), job.inputs["least_score"]))

    def stop(self) -> None:
        """Nothing: it starts no programs."""

    def _ensure_loaded(self, job: Job, talk: Talk) -> _Model:
        if self._loaded is None or self._loaded[0] != job.model_path:
            self._loaded = None  # frees the memory before the next model takes it
            talk.report_residents({})
            talk.report_progress(None, f"loading {job.model}")
            self._loaded = job.model_path, _load(job.model_path, self._settings.threads)
        # Reported each time: the model can have another name in each task.
        talk.report_residents({job.model: Bytes(sum(path.stat().st_size for path in _list_files(job.model_path)))})
        talk.check()
        return self._loaded[1]

    def _read_picture(self, job: Job) -> Pixels:
        if not job.files:
            raise TaskInvalidError(f"{job.model!r} needs a picture", hint="hand it over as the task's file")
        ((name, path),) = job.files.items()
        return read_picture(path, name, self._settings.options["most_pixels"])


def _list_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in sorted(path.iterdir()) if file.is_file()]


def _load(path: Path, threads: int) -> _Model:
    """Load what is at a path. Raises: EngineError, TaskInvalidError."""
    files = {file.suffix: file for file in _list_files(path)}
    if {".param", ".bin"} <= files.keys():
        return Upscaler(files[".param"], files[".bin"], threads)
    if ".onnx" in files:
        return Detector(files[".onnx"], threads)
    if path.is_file() and zipfile.is_zipfile(path):
        return FaceGenerator(path)
    what = f"{path.name!r} has no model of this engine: neither '.param' and '.bin' nor '.onnx' nor a checkpoint"
    raise TaskInvalidError(what, hint="use one of the catalogue, such as `dcgan-faces-64`")


def _draw(generator: FaceGenerator, job: Job, talk: Talk) -> Answer:
    if job.files:
        raise TaskInvalidError(f"{job.model!r} makes pictures, and takes none", hint="leave out the task's file")
    inputs = job.inputs
    seed = random.randrange(_SEEDS) if inputs["seed"] is None else inputs["seed"]
    talk.report_progress(None, "drawing")
    picture = generator.draw(seed, inputs["variant"], inputs["variation"])
    path = job.scratch / "picture.png"
    write_png(path, picture)
    height, width, _ = picture.shape
    return _answer_picture(path, {"width": width, "height": height, "seed": seed, "variant": inputs["variant"]})


def _enlarge(upscaler: Upscaler, picture: Pixels, job: Job, talk: Talk) -> Answer:
    """Write the large picture row by row; a cancel is obeyed between two tiles."""
    height, width = (side * upscaler.scale for side in picture.shape[:2])
    path = job.scratch / "picture.png"
    with path.open("wb") as target:
        writer = PngWriter(target, width, height)
        for done, rows in upscaler.enlarge(picture):
            if rows is not None:
                writer.write(rows)
            talk.report_progress(done, f"enlarging to {width} x {height}")
            talk.check()
        writer.close()
    return _answer_picture(path, {"width": width, "height": height, "scale": upscaler.scale})


def _answer_picture(path: Path, values: Mapping[str, Any]) -> Answer:  # Any: JSON
    return Answer(files=(OutputFile(name=path.name, path=path, media_type="image/png"),), values=values)


def _answer_check(job: Job, checks: Mapping[str, Any]) -> Answer:  # Any: JSON
    path = job.scratch / "checks.json"
    path.write_text(json.dumps(checks, indent=2) + "\n", encoding="utf-8")
    file = OutputFile(name=path.name, path=path, media_type="application/json")
    return Answer(files=(file,), values={name: value for name, value in checks.items() if name != "boxes"})
