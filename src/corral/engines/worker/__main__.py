"""`python -m corral.engines.worker <engine>`: the worker process of one local engine."""

from __future__ import annotations

import sys
from importlib import import_module

from corral.engines.worker.serve import serve

_ENGINES = {"llama": "Llama", "whisper": "Whisper", "piper": "Piper", "command": "Command"}


def main() -> None:
    """Serve the engine that the first argument names."""
    name = sys.argv[1]
    # Imported inside `serve`, where a missing library becomes a message to the server.
    serve(lambda settings: getattr(import_module(f"corral.engines.{name}.worker"), _ENGINES[name])(settings))


if __name__ == "__main__":
    main()
