"""The surroundings of the door of speech: voices of models, and a Python that can encode sound."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from corral.data_dir import ENGINES_FOLDER
from corral.engine_kinds import ENGINES, WHISPER
from corral.engines.environments.finding import Environments, find_packages
from corral.engines.inputs import load_reference
from corral.errors import CorralError
from corral.gateway.doors import Doorman, Visitor
from corral.gateway.passing import Passing
from corral.gateway.speech.parts import SpeechParts
from corral.gateway.speech.voices import OwnVoice
from corral.gateway.speech.working import Workshop
from corral.server.services import Services
from corral.slots.guests import Choice
from corral.work import Json

_ENCODES = "av"
"""PyAV, which comes with Whisper."""


def make_speech_parts(services: Services, passing: Passing, doorman: Doorman) -> SpeechParts:
    """Return the parts of the door."""
    environments = Environments(services.data_dir / ENGINES_FOLDER)
    return SpeechParts(
        passing=passing,
        doorman=doorman,
        workshop=Workshop(passing.desk, services.data_dir / "scratch" / "guests"),
        voices=VoicesHere(services),
        python=lambda: find_encoding_python(environments),
        lists_are_public=lambda: services.cluster.gateway.public_lists,
    )


def find_encoding_python(environments: Environments) -> str | None:
    """Return a Python with PyAV: Corral's own, or that of Whisper's environment; None where there is none."""
    if find_spec(_ENCODES) is not None:
        return sys.executable
    installed = environments.read(WHISPER.name)
    has_library = installed is not None and (find_packages(installed.folder) / _ENCODES).is_dir()
    return str(installed.python) if installed is not None and has_library else None


class VoicesHere:
    """Knows the voices of the models in the store."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list_built_in(self, choice: Choice) -> Mapping[str, Json]:
        """Return the voices of a model of the store; none where it is gone, which its engine reports better."""
        return await asyncio.to_thread(self._read_built_in, choice)

    async def list_own(self, visitor: Visitor) -> Sequence[OwnVoice]:
        """Return none: voices are not created here."""
        del visitor
        return ()

    def _read_built_in(self, choice: Choice) -> Mapping[str, Json]:
        rule = ENGINES[choice.engine].speech
        if rule is None or choice.model is None:
            return {}
        read = cast("Callable[[Path], Mapping[str, Json]]", load_reference(rule.voices))  # a test loads all
        try:
            return read(self._services.weights.path(choice.model))
        except (CorralError, OSError):
            return {}
