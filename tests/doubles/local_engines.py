"""What tests of local engines share: work to do, a reporter that remembers, real models, what still runs."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from corral.processes.leftovers import MARK
from corral.weights.store import Store
from corral.work import Work

REPOSITORY = Path(__file__).parents[2]
LLAMA, WHISPER, PIPER, KOKORO = "smollm2-135m-instruct", "whisper-tiny.en", "piper-en-us-joe", "kokoro-82m-int8"
WHISPER_BASE = "whisper-base"
"""Hears all languages; larger than the others, so tests name it where they need it."""
QWEN = "qwen2.5-coder-0.5b-instruct"
"""Calls tools and obeys schemas; half a gigabyte, so that its tests have a verb of their own."""
FACES, ENLARGES, FINDS_FACES, RATES = "dcgan-faces-64", "realesr-animevideov3-x4", "nudenet-320n", "open-nsfw"
"""Models of pictures; one test file names them."""
RESEMBLYZER = "resemblyzer"
"""Compares voices; no task names it."""


class Remembering:
    """Stands for the dispatcher's reporter: keeps all it is told, and lets a test wait for the work to be under way."""

    def __init__(self) -> None:
        self.notes: list[tuple[float | None, str]] = []
        self.shown: list[tuple[str, bytes]] = []
        self.under_way = asyncio.Event()

    def progress(self, fraction: float | None, note: str = "") -> None:
        self.notes.append((fraction, note))
        if not note.startswith("loading"):
            self.under_way.set()

    def preview(self, media_type: str, data: bytes) -> None:
        self.shown.append((media_type, data))

    def relay(self, event: str, data: Mapping[str, Any]) -> None:
        raise AssertionError(f"no local engine relays what its program says: {event} {data}")


def a_work(
    engine: str,
    scratch: Path,
    *,
    model: str | None = None,
    files: dict[str, Path] | None = None,
    timeout_s: float = 120.0,
    **inputs: Any,  # the inputs of the engine
) -> Work:
    """An attempt with a folder of its own."""
    attempt = uuid4()
    folder = scratch / f"scratch-{attempt.hex[:8]}"
    folder.mkdir()
    return Work(
        attempt=attempt,
        task=1,
        engine=engine,
        model=model,
        inputs=inputs,
        files=files or {},
        scratch=folder,
        timeout_s=timeout_s,
    )


def running_below(log_dir: Path) -> list[psutil.Process]:
    """Every process that a worker with its log in this folder is or started, whatever became of its parents."""
    processes: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARK, "").startswith(str(log_dir.resolve()))
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except psutil.Error:
            continue
    return processes


@cache
def real_models(*more: str) -> Store:
    """The store with the small models and those named, kept between runs in the repository's cache folder."""
    store = Store(REPOSITORY / ".cache" / "models")
    for name in (LLAMA, WHISPER, PIPER, KOKORO, *more):
        asyncio.run(store.pull(name))
    return store


def write_silence(path: Path, *, seconds: int) -> Path:
    """A WAV in which nobody speaks."""
    with wave.open(str(path), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(16_000)
        audio.writeframes(bytes(2 * 16_000 * seconds))
    return path
