"""The surroundings of the door of speech: voices of models, and a Python that can encode sound."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, cast

from corral.data_dir import ENGINES_FOLDER
from corral.engine_facts import EngineKind
from corral.engine_kinds import ENGINES, WHISPER
from corral.engines.environments.finding import Environments, find_packages
from corral.engines.inputs import load_reference
from corral.errors import CorralError, Kind
from corral.gateway.doors import Doorman, Visitor
from corral.gateway.passing import Passing
from corral.gateway.speech.parts import SpeechParts
from corral.gateway.speech.voices import OwnVoice
from corral.gateway.speech.working import Workshop
from corral.server.services import Services
from corral.slots.guests import Choice
from corral.tasks.artifacts import ArtifactMissingError
from corral.tasks.store.voices import NewVoice, Voice, create_voice, delete_voice, list_voices
from corral.work import EngineUnavailableError, Json, TaskInvalidError

_ENCODES = "av"
"""PyAV, which comes with Whisper."""


class VoiceUselessError(CorralError):
    """A file with which no engine of this machine speaks."""

    code: ClassVar[str] = "voice.useless"
    kind: ClassVar[Kind] = Kind.INVALID


def make_speech_parts(services: Services, passing: Passing, doorman: Doorman) -> SpeechParts:
    """Return the parts of the door."""
    environments = Environments(services.data_dir / ENGINES_FOLDER)

    def reserve(coming: int) -> None:
        services.artifacts.refuse_below(services.cluster.server.disk_reserve, coming=coming)

    return SpeechParts(
        passing=passing,
        doorman=doorman,
        workshop=Workshop(passing.desk, services.data_dir / "scratch" / "guests", reserve=reserve),
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
    """Knows the voices of the models in the store, and those that people have created."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list_built_in(self, choice: Choice) -> Mapping[str, Json]:
        """Return the voices of a model of the store; none where it is gone, which its engine reports better."""
        return await asyncio.to_thread(self._read_built_in, choice)

    async def list_own(self, visitor: Visitor) -> Sequence[OwnVoice]:
        """Return the voices of the visitor's owner; one whose file is gone is left out."""
        voices = await list_voices(self._services.pool, visitor.owner)
        return await asyncio.to_thread(lambda: [own for voice in voices if (own := self._describe(voice)) is not None])

    async def create(self, visitor: Visitor, *, name: str, consent: str, file: Path, file_name: str) -> OwnVoice:
        """Keep a voice for the visitor's owner; `file` is gone then.

        Raises: VoiceUselessError, DiskFullError, VoiceExistsError, VoiceQuotaError.
        """
        await asyncio.to_thread(
            _require_usable, file, file_name, Environments(self._services.data_dir / ENGINES_FOLDER)
        )
        store = self._services.artifacts
        content = await asyncio.to_thread(store.adopt, file)
        await asyncio.to_thread(store.settle, [content])
        new = NewVoice(
            owner=visitor.owner,
            name=name,
            consent=consent,
            sha256=content.sha256,
            size=content.size,
            file_name=file_name,
        )
        own = self._describe(await create_voice(self._services.pool, new))
        assert own is not None, "its file was stored just now"
        return own

    async def delete(self, visitor: Visitor, voice_id: str) -> None:
        """Delete a voice. Raises: VoiceMissingError."""
        await delete_voice(self._services.pool, voice_id, by=visitor.owner, is_admin=visitor.is_admin)

    def _describe(self, voice: Voice) -> OwnVoice | None:
        try:
            file = self._services.artifacts.locate(voice.sha256)
        except ArtifactMissingError:
            return None
        return OwnVoice(id=voice.id, name=voice.name, file=file, file_name=voice.file_name, created_at=voice.created_at)

    def _read_built_in(self, choice: Choice) -> Mapping[str, Json]:
        rule = ENGINES[choice.engine].speech
        if rule is None or choice.model is None:
            return {}
        read = cast("Callable[[Path], Mapping[str, Json]]", load_reference(rule.voices))  # a test loads all
        try:
            return read(self._services.weights.path(choice.model))
        except (CorralError, OSError):
            return {}


def _require_usable(file: Path, name: str, environments: Environments) -> None:
    """Return when an engine of this machine speaks with such a file. Blocks. Raises: VoiceUselessError."""
    speakers = [(kind, kind.speech) for kind in ENGINES.values() if kind.speech is not None and kind.speech.voice_files]
    suitable = [(kind, rule) for kind, rule in speakers if name.endswith(rule.voice_files)]
    if not suitable:
        takes = "; ".join(f"{kind.name} takes {', '.join(rule.voice_files)}" for kind, rule in speakers)
        raise VoiceUselessError(f"no engine speaks with {name!r}", where="audio_sample", hint=takes)
    for kind, rule in suitable:
        if rule.clones:
            _require_installed(kind, name, environments)
        if rule.check_voice is not None:
            check = cast("Callable[[Path, str], object]", load_reference(rule.check_voice))  # as below
            try:
                check(file, name)
            except TaskInvalidError as error:
                raise VoiceUselessError(error.what, where="audio_sample", hint=error.hint) from error


def _require_installed(kind: EngineKind, name: str, environments: Environments) -> None:
    """Return when recordings can be spoken with: most machines have no engine that clones a voice."""
    try:
        environments.require(kind)
    except EngineUnavailableError as error:
        what = f"no engine here speaks with {name!r}: none that clones a voice from a recording is installed"
        raise VoiceUselessError(what, where="audio_sample", hint=error.hint) from error
