"""Builds the engines that run elsewhere and are reached by URL.

Belongs here: turning an instance's URL and settings into its adapter.
Does not belong here: which slot an instance computes for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corral.engines.comfyui.engine import ComfyUi
from corral.engines.comfyui.inputs import ComfyUiOptions
from corral.engines.comfyui.timings import Timings
from corral.engines.inputs import read_options
from corral.engines.ollama.engine import Ollama
from corral.engines.ollama.inputs import OllamaOptions
from corral.work import Engine


def build_remote(
    name: str,
    *,
    url: str,
    options: Mapping[str, Any],  # Any: JSON from the cluster file, checked here
) -> Engine:
    """Return the adapter for one instance; nothing is asked of it before its first task.

    Raises: ProblemsError when `options` are wrong; KeyError when `name` is not an engine that is reached by URL.
    """
    return _BUILDERS[name](url, options)


def _comfyui(url: str, options: Mapping[str, Any]) -> Engine:  # Any: as above
    settings = read_options(ComfyUiOptions, "comfyui", options)
    return ComfyUi(url, timings=Timings(reconnect_s=settings.reconnect_seconds))


def _ollama(url: str, options: Mapping[str, Any]) -> Engine:  # Any: as above
    return Ollama(url, options=read_options(OllamaOptions, "ollama", options))


_BUILDERS = {"comfyui": _comfyui, "ollama": _ollama}
