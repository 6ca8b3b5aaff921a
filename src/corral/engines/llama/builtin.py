"""llama.cpp's own server out of `xllamacpp`, with the arguments of `llama-server` that Corral uses.

A program of its own: `python -m corral.engines.llama.builtin --model m.gguf --port 8081 ...`. It ends with exit code 1
when the model cannot be loaded; llama.cpp has then printed why.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import xllamacpp

_library: Any = xllamacpp  # a compiled module without type stubs


def main() -> None:
    """Load the model and serve it until a signal ends the process."""
    asked = _read_arguments()
    try:
        server = _library.Server(_make_parameters(asked))
    except RuntimeError as error:
        sys.exit(f"{error}")
    sys.stderr.write(f"listening at {server.listening_address}\n")
    while True:
        signal.pause()


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="corral.engines.llama.builtin")
    for name in ("--model", "--alias", "--host", "--mmproj", "--pooling"):
        parser.add_argument(name)
    for name in ("--port", "--ctx-size", "--parallel", "--n-gpu-layers", "--threads", "--threads-batch"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--batch-size", "--ubatch-size"):
        parser.add_argument(name, type=int)
    parser.add_argument("--lora", action="append", default=[])
    parser.add_argument("--device", choices=["none"])  # this build has no other
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--no-warmup", action="store_true")
    parser.add_argument("--version", action="version", version=f"xllamacpp {_library.__version__}")
    return parser.parse_args()


def _make_parameters(asked: argparse.Namespace) -> Any:  # Any: the library's
    parameters = _library.CommonParams()
    parameters.model.path = asked.model
    if asked.alias:
        parameters.model_alias = {asked.alias}
    parameters.hostnames = [asked.host]
    parameters.port = asked.port
    parameters.n_ctx = asked.ctx_size
    parameters.n_parallel = asked.parallel
    parameters.n_gpu_layers = asked.n_gpu_layers
    parameters.cpuparams.n_threads = asked.threads
    parameters.cpuparams_batch.n_threads = asked.threads_batch
    parameters.warmup = not asked.no_warmup
    parameters.embedding = asked.embeddings
    if asked.batch_size:
        parameters.n_batch, parameters.n_ubatch = asked.batch_size, asked.ubatch_size
    if asked.pooling:
        parameters.pooling_type = getattr(_library.llama_pooling_type, f"LLAMA_POOLING_TYPE_{asked.pooling.upper()}")
    if asked.mmproj:
        parameters.mmproj.path = asked.mmproj
    parameters.lora_adapters = [_make_lora(path) for path in asked.lora]
    _apply_environment(parameters, os.environ)
    return parameters


def _make_lora(path: str) -> Any:  # Any: as above
    return _library.CommonAdapterLoraInfo(path, 1.0)


def _apply_environment(parameters: Any, environment: Mapping[str, str]) -> None:  # Any: as above
    """Apply what `llama-server` reads from its environment."""
    parameters.api_keys = [environment["LLAMA_API_KEY"]]
    parameters.verbosity = int(environment["LLAMA_ARG_LOG_VERBOSITY"])
    parameters.cache_ram_mib = int(environment["LLAMA_ARG_CACHE_RAM"])
    parameters.ui = environment["LLAMA_ARG_UI"] != "0"


if __name__ == "__main__":
    main()
