"""`python -m corral.engines.worker <engine>`: the worker process of one local engine."""

from __future__ import annotations

import sys
from importlib import import_module

from corral.engine_kinds import ENGINES
from corral.engines.worker.job import WorkerEngine, WorkerSettings
from corral.engines.worker.serve import serve


def main() -> None:
    """Serve the engine that the first argument names."""
    module, _, name = (ENGINES[sys.argv[1]].worker or "").partition(":")

    def open_engine(settings: WorkerSettings) -> WorkerEngine:
        # Imported here, inside `serve`, where a missing library becomes a message to the server.
        return getattr(import_module(module), name)(settings)

    serve(open_engine)


if __name__ == "__main__":
    main()
