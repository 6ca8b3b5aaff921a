"""Which llama.cpp serves a slot, and how it is started; pure.

On a GPU the `llama-server` that the user has goes first: builds for CUDA, ROCm, Vulkan, SYCL and Metal are many, and
the maker of the GPU decides. On a processor the locked `xllamacpp` is known to work. Both take the same arguments
(`builtin` reads those that are used here), so one adapter speaks to every build.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from corral.engine_kinds import LLAMA
from corral.engines.llama.inputs import LlamaOptions
from corral.processes.server import HOST
from corral.work import EngineUnavailableError

ALL_LAYERS = 999
"""More than any model has; `all` is not understood by builds before 2025-12."""
INSTALL = "install a llama-server for the GPU: docs/concepts/engines.md lists them by maker"
_ENVIRONMENT = {
    # Options that some builds do not know are variables, because an unknown variable is ignored, an argument is not.
    "LLAMA_ARG_LOG_VERBOSITY": "4",  # reports on which device the layers are
    "LLAMA_ARG_CACHE_RAM": "0",  # prompts of one queue rarely repeat; 8 GiB of the host's memory is its default
    "LLAMA_ARG_UI": "0",
    "LLAMA_ARG_OFFLINE": "1",  # models come from the store; an engine never downloads
    "LLAMA_ARG_JINJA": "1",  # the model's own chat template, which tools need
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A llama.cpp to run."""

    name: str
    """For people: `llama-server (/usr/bin/llama-server)`."""
    command: tuple[str, ...]
    """Its first words; its arguments follow."""
    is_builtin: bool = False
    """Whether it is the server out of `xllamacpp`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """The files that a server has in memory; others need another server."""

    model: Path
    mmproj: Path | None = None
    loras: tuple[Path, ...] = ()
    embeds: bool = False
    """Whether it makes vectors; such a server writes no text."""
    pooling: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The builds of llama.cpp on this machine."""

    find_program: Callable[[str], str | None]
    """Finds a program by name or path, as `shutil.which` does."""
    builtin: Program | None
    """The server out of `xllamacpp`, where that is installed."""
    install: str = f"corral engines install {LLAMA.name}"
    """The command that installs it."""


def make_builtin(python: str) -> Program:
    """Return the server out of the `xllamacpp` of a Python."""
    command = (python, "-P", "-m", "corral.engines.llama.builtin")
    return Program(name="llama.cpp of xllamacpp", command=command, is_builtin=True)


BUILTIN = make_builtin(sys.executable)
_SERVER = "llama-server"


def choose_program(options: LlamaOptions, installed: Installed, *, gpu: bool) -> Program:
    """Choose the build that serves a slot. Raises: EngineUnavailableError when there is none."""
    if options.binary is not None:
        path = installed.find_program(options.binary)
        if path is None:
            what = f"the cluster file names {options.binary!r} as llama's binary, and there is no such program"
            raise EngineUnavailableError(what, hint="correct `options.binary` of the engine, or install it")
        return _make_server(path)
    path = installed.find_program(_SERVER)
    if path is not None and (gpu or installed.builtin is None):
        return _make_server(path)
    if installed.builtin is not None:
        return installed.builtin
    what = "the llama engine is not installed: no library 'xllamacpp', and no 'llama-server' on PATH"
    raise EngineUnavailableError(what, hint=installed.install)


def _make_server(path: str) -> Program:
    return Program(name=f"llama-server ({path})", command=(path,))


def list_arguments(
    loading: Loading, options: LlamaOptions, *, name: str, lanes: int, gpu: bool, threads: int, port: int
) -> tuple[str, ...]:
    """Return the arguments that load a model and serve it at `port`, under `name`, to `lanes` requests at once.

    llama-server divides its context by its lanes, so that each lane has the one of the options.
    """
    layers = ALL_LAYERS if options.gpu_layers == -1 else options.gpu_layers
    values: dict[str, object] = {
        "--model": loading.model,
        "--host": HOST,
        "--port": port,
        "--alias": name,  # its answers name the model; without one they have the file's path
        "--ctx-size": options.context_size * lanes,
        "--parallel": lanes,
        "--n-gpu-layers": layers if gpu else 0,
        **({} if gpu else {"--device": "none"}),  # without it, a build for GPUs keeps buffers on one all the same
        "--threads": threads,
        "--threads-batch": threads,
    }
    if loading.mmproj is not None:
        values["--mmproj"] = loading.mmproj
    if loading.embeds:  # a text to embed is computed in one batch, whose tokens llama.cpp divides by the lanes
        batch = math.ceil(options.context_size / lanes) * lanes
        values |= {"--batch-size": batch, "--ubatch-size": batch}
    if loading.pooling is not None:
        values["--pooling"] = loading.pooling
    # The first answer warms up as well, and a cancel is noticed while it is written.
    switches = ["--no-warmup", *(("--embeddings",) if loading.embeds else ())]
    for lora in loading.loras:
        switches += ["--lora", str(lora)]
    return (*(text for name, value in values.items() for text in (name, str(value))), *switches)


def make_environment(base: Mapping[str, str], *, key: str) -> dict[str, str]:
    """Return the environment of a server that answers only requests with this key."""
    return {**base, **_ENVIRONMENT, "LLAMA_API_KEY": key}


def choose_threads(wanted: int | None, *, share: int, cores: int | None) -> int:
    """Return how many threads compute.

    llama.cpp's threads wait for one another by spinning, so on a machine that does other work as well, as many threads
    as cores are the worst choice: 1.7 tokens a second with 2 threads on 2 busy cores, 5.2 with 1 (SmolLM2-135M).
    """
    if wanted is not None:
        return wanted
    return max(1, share if cores is None else min(share, cores - 1))
