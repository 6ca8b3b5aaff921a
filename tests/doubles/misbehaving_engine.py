"""A local engine whose library misbehaves as its task asks; see `misbehaving_worker`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from corral.engine_facts import EngineKind
from corral.engines.local.engine import Launch, LocalEngine
from corral.engines.machine_share import make_worker_environment
from corral.engines.schema import EngineInputs
from corral.processes.bounded_log import BoundedLog
from corral.processes.leftovers import make_mark

WORKER = Path(__file__).with_name("misbehaving_worker.py")


class MisbehavingInputs(EngineInputs):
    """What the double does: the name of one of its methods."""

    how: str


KIND = EngineKind(name="misbehaving", summary="A double.", inputs="doubles.misbehaving_engine:MisbehavingInputs")


def misbehaving_engine(
    log_dir: Path,
    *,
    command: tuple[str, ...] = (sys.executable, str(WORKER)),
    **options: Any,  # read by the double
) -> LocalEngine:
    """A `LocalEngine` as the factory builds it, in front of the double or of any program."""
    launch = Launch(
        command=lambda: command,
        environment=lambda devices: make_worker_environment(
            os.environ, gpus=devices, threads=1, mark=make_mark(log_dir)
        ),
        settings={
            "gpu": False,
            "threads": 1,
            "options": options,
            "hint": "pip install it",
            "keep": str(log_dir / "kept"),
        },
        log=BoundedLog(log_dir / "misbehaving.log"),
    )
    return LocalEngine(KIND, launch, locate=Path)
