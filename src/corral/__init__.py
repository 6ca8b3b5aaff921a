"""Corral runs AI work on the GPUs you own.

Its `hold` lends GPUs to a Python program (`corral.client.lending`).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "hold"]  # pyright: ignore[reportUnsupportedDunderAll]  `hold` is found when it is asked for


def __getattr__(name: str) -> Any:  # of what is asked for; `__init__.pyi` has its type
    # By name and late: the command line imports this package for each command, and most need no HTTP client.
    if name == "hold":
        return import_module("corral.client.lending").hold
    raise AttributeError(f"module 'corral' has no attribute {name!r}")
