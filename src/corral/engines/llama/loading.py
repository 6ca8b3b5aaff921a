"""The lines that llama.cpp prints while it loads a model: on which device it is, and why it cannot; pure.

The line `offloaded 31/31 layers to GPU` alone proves nothing: builds for GPUs print it on a machine without one too,
and compute on the processor. The proof is a device that is used and holds a part of the model. Read from the logs of
llama-server 10434 (Vulkan, on llvmpipe and without a device) and of xllamacpp 2026.10.
"""

from __future__ import annotations

import re
from collections import Counter

from corral.units import Bytes
from corral.work import EngineError, EngineUnavailableError, TaskInvalidError

_PREFIX = re.compile(r"^(?:\d+\.)+\d+ ([A-Z]) (?:(?:srv|cmn|slt|que)\s+)?")
"""Time, level and part, as newer builds print them."""
_ERROR_LEVEL = "E"
_DEVICE = re.compile(r"using device (\S+) \((.+?)\)(?: \([^()]+\))? - \d+ MiB free")
_LAYERS = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BUFFER = re.compile(r"(\S+)\s+(model|KV|RS|compute) buffer size\s*=\s*([\d.]+) MiB")
_COMPLAINT = re.compile(r"error|failed|unable|cannot|invalid|out of memory", re.IGNORECASE)
"""For lines without a level."""
_ATTEMPT = re.compile(r"while trying to fit")
"""An error on the way that llama.cpp gets over, or repeats."""
_MEMORY = re.compile(r"out of memory|alloc|OutOf\w*Memory|insufficient memory", re.IGNORECASE)
_FILE = re.compile(r"load(?:ing)? (?:the )?(?:\w+ )?model|gguf_init|lora|mmproj|clip_|architecture", re.IGNORECASE)
_ARGUMENT = re.compile(r"(?:invalid|unknown|unrecognized) arguments?", re.IGNORECASE)
_FOLDERS = re.compile(r"(?:/[^\s/']+)*/(?=[^\s/']+)")
"""Where Corral keeps its files is of no use to the one who reads the message."""
_QUOTED = 4
"""Lines; the first ones name the cause, the later ones repeat it."""
_MIB = 2**20


class LoadReport:
    """Reads the lines of one load as they are printed."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget the lines of a load before."""
        self._devices: dict[str, str] = {}
        self._layers: tuple[int, int] | None = None
        self._model_mib: Counter[str] = Counter()
        self._memory_mib: Counter[str] = Counter()
        self._complaints: dict[str, None] = {}

    def take(self, line: str) -> None:
        """Take the next line."""
        prefix = _PREFIX.match(line)
        words = line[prefix.end() :] if prefix else line
        if match := _DEVICE.search(words):
            self._devices[match[1]] = match[2]
        elif match := _LAYERS.search(words):
            self._layers = int(match[1]), int(match[2])
        elif match := _BUFFER.search(words):
            self._memory_mib[match[1]] += float(match[3])  # type: ignore[arg-type]  # a Counter adds any number
            if match[2] == "model":
                self._model_mib[match[1]] += float(match[3])  # type: ignore[arg-type]  # as above
        elif (prefix[1] == _ERROR_LEVEL if prefix else _COMPLAINT.search(words)) and not _ATTEMPT.search(words):
            self._complaints.setdefault(words.strip())

    @property
    def devices(self) -> tuple[str, ...]:
        """The GPUs that hold a part of the model: `CUDA0 (NVIDIA GeForce RTX 4090)`."""
        used = [name for name in self._devices if self._model_mib[name] > 0]
        return tuple(f"{name} ({self._devices[name]})" for name in used)

    @property
    def computes_on(self) -> str | None:
        """Where the model is, for people; None as long as no part of it is reported anywhere."""
        if not self._model_mib:
            return None
        if not self.devices:
            return "the processor"
        layers = "" if self._layers is None else f", {self._layers[0]} of {self._layers[1]} layers"
        return " and ".join(self.devices) + layers

    @property
    def memory(self) -> Bytes | None:
        """Bytes on its GPUs, else in the machine's memory; None where nothing was reported."""
        counted = [name for name in self._memory_mib if name in self._devices] if self.devices else self._memory_mib
        mib = sum(self._memory_mib[name] for name in counted)
        return Bytes(int(mib * _MIB)) if mib else None

    def make_failure(self, program: str, model: str, end: str) -> EngineError:
        """Return why the model could not be loaded, in llama.cpp's words; `end` is how the program ended."""
        said = _FOLDERS.sub("", "; ".join(list(self._complaints)[:_QUOTED]))
        if not said:
            return EngineError(f"{program} could not load {model!r}: {end}")
        what = f"{program} could not load {model!r}: {said}"
        if _ARGUMENT.search(said):
            return EngineUnavailableError(what, hint="use a newer build of llama.cpp")
        if _MEMORY.search(said):
            hint = "a smaller model, fewer `gpuLayers` or a smaller `contextSize` needs less memory"
            return EngineError(what, hint=hint)
        if _FILE.search(said):
            return TaskInvalidError(what, hint="pull the file again with `corral models pull`, or use another one")
        return EngineError(what)
