"""Chatterbox's own library, which only its environment has: imported when a worker starts, never before.

Source: the class for English in `tts.py` of chatterbox-tts 0.1.7, with which this was run in its own environment, on
weights of random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from corral.work import EngineError, EngineUnavailableError

Sound = npt.NDArray[np.float32]
_NO_KERNEL = "no kernel image is available"
"""What CUDA reports where a library has no code for the GPU."""


class Cloner(Protocol):
    """A loaded model."""

    sample_rate: int
    """Of what it speaks."""
    has_built_in_voice: bool

    def take_voice(self, recording: Path | None, exaggeration: float) -> None:
        """Speak with the voice of a WAV from here on; None is the built-in one. Raises: EngineError."""
        ...

    def speak(self, line: str, *, exaggeration: float, cfg_weight: float, temperature: float, seed: int) -> Sound:
        """Return a line as sound. Raises: EngineError."""
        ...


Load = Callable[[Path], Cloner]
"""Loads the model of a folder. Raises: EngineError."""


def open_library(*, gpu: bool, threads: int) -> Load:
    """Import the library. Raises: ImportError where it is not installed."""
    torch = import_module("torch")
    model_class = import_module("chatterbox.tts").ChatterboxTTS
    torch.set_num_threads(threads)
    device = "cuda" if gpu else "cpu"
    return lambda folder: _LibraryCloner(torch, model_class, folder, device)


class _LibraryCloner:
    def __init__(self, torch: Any, model_class: Any, folder: Path, device: str) -> None:  # Any: a library of its own
        self._torch = torch
        self._model = _call("loading the model", lambda: model_class.from_local(folder, device))
        self._built_in = self._model.conds
        self.sample_rate: int = self._model.sr
        self.has_built_in_voice = self._built_in is not None

    def take_voice(self, recording: Path | None, exaggeration: float) -> None:
        # The library keeps the last voice: it is put back first, so that no task speaks with that of another.
        self._model.conds = self._built_in
        if recording is not None:
            prepare = self._model.prepare_conditionals
            _call("listening to the recording", lambda: prepare(str(recording), exaggeration=exaggeration))

    def speak(self, line: str, *, exaggeration: float, cfg_weight: float, temperature: float, seed: int) -> Sound:
        self._torch.manual_seed(seed)
        generate = self._model.generate
        settings = {"exaggeration": exaggeration, "cfg_weight": cfg_weight, "temperature": temperature}
        spoken = _call("speaking", lambda: generate(line, **settings))
        return np.asarray(spoken.squeeze(0).numpy(), np.float32)


def _call(doing: str, act: Callable[[], Any]) -> Any:  # Any: whatever the library returns
    try:
        return act()
    except Exception as error:  # the library and PyTorch raise whatever they like
        message = " ".join(str(error).split()) or type(error).__name__
        if _NO_KERNEL in message:
            what = "the PyTorch of Chatterbox has no code for this GPU"
            hint = "`corral doctor` names it; leave chatterbox to the processor, or to another GPU"
            raise EngineUnavailableError(what, hint=hint) from error
        raise EngineError(f"chatterbox failed at {doing}: {message[:1000]}") from error
