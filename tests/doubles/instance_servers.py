"""What the cluster file says of servers that Corral runs, with doubles as their programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import doubles.comfyui
from corral.cluster.run_values import Run
from corral.engines.servers.engine import InstanceServer
from doubles.supervised import PROGRAM as SMALL

COMFY = Path(str(doubles.comfyui.__file__))
MakeServer = Callable[..., InstanceServer]


def run_comfy(*arguments: str, idle: timedelta | None = None, always: bool = False) -> Run:
    """Run the double of ComfyUI, as a program."""
    command = (sys.executable, str(COMFY), "--port", "{port}", "--seconds-per-image", "0")
    return Run(command=command, arguments=arguments, idle=idle, always=always)


def run_small(*asked: str, **more: Any) -> Run:  # Any: the other fields of `Run`
    """Run the double `small_server` with these words."""
    return Run(command=(sys.executable, str(SMALL), "{port}", *asked), health_path="/health", **more)
