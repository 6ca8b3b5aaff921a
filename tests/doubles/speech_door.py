"""The door of speech over real engines, without a queue: guests get their turns at once."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from corral.engine_kinds import ENGINES
from corral.engines.inputs import load_reference
from corral.gateway.asgi import Scope
from corral.gateway.catalogue import Catalogue, KnownModel
from corral.gateway.doors import Doors, Visitor
from corral.gateway.openai.door import OpenAiDoor
from corral.gateway.passing import Passing
from corral.gateway.speech.conversing import ConverseDoor
from corral.gateway.speech.door import SpeechDoor
from corral.gateway.speech.parts import SpeechParts
from corral.gateway.speech.voices import OwnVoice
from corral.gateway.speech.working import Workshop
from corral.server.auth import NotAuthenticatedError
from corral.weights.store import Store
from corral.work import Engine, HostedModel, SlotId
from doubles.guest_desk import OpenDesk

KEY = "key-of-ann"


class OneDoorman:
    """Knows one key, and what it can do."""

    def __init__(self) -> None:
        self.visitor = Visitor(owner="ann", can_submit=True, key="laptop")

    async def admit(self, scope: Scope) -> Visitor:
        if (b"authorization", f"Bearer {KEY}".encode()) not in scope["headers"]:
            raise NotAuthenticatedError("no token was given")
        return self.visitor


class StoredModels:
    """Lists the models of a store, as a server does."""

    def __init__(self, store: Store, names: Sequence[str]) -> None:
        self._store = store
        self._names = names

    async def list_models(self) -> Sequence[KnownModel]:
        return [
            KnownModel(engine=engine, name=model.name, facts=HostedModel(name=model.name, size=model.size))
            for model in self._store.list()
            for engine in model.engines
            if model.name in self._names
        ]


class StoredVoices:
    """The voices of models in a store, and those that a test adds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.own: list[OwnVoice] = []

    async def list_built_in(self, choice: object) -> Mapping[str, object]:
        rule = ENGINES[choice.engine].speech
        assert rule is not None
        return load_reference(rule.voices)(self._store.path(choice.model))

    async def list_own(self, visitor: Visitor) -> Sequence[OwnVoice]:
        return self.own if visitor.owner == "ann" else ()


class OpenDoor:
    """A door that is open, and what a test can change behind it."""

    def __init__(self, url: str, desk: OpenDesk, doorman: OneDoorman, voices: StoredVoices, folder: Path) -> None:
        self.url = url
        self.desk = desk
        self.doorman = doorman
        self.voices = voices
        self.folder = folder
        self.python: str | None = sys.executable
        self.lists_are_public = False


async def _no_app(scope: Scope, receive: object, send: object) -> None:
    raise AssertionError(f"{scope['path']} did not go to the door")


@asynccontextmanager
async def open_speech_door(
    engines: Mapping[SlotId, Engine], store: Store, names: Sequence[str], folder: Path
) -> AsyncGenerator[OpenDoor]:
    """Serve the door on a port of loopback."""
    listener = socket.create_server(("127.0.0.1", 0))
    desk, doorman, voices = OpenDesk(engines), OneDoorman(), StoredVoices(store)
    door = OpenDoor(f"http://127.0.0.1:{listener.getsockname()[1]}", desk, doorman, voices, folder)
    parts = SpeechParts(
        passing=Passing(desk=desk, catalogue=Catalogue(StoredModels(store, names))),
        doorman=doorman,
        workshop=Workshop(desk, folder),
        voices=voices,
        python=lambda: door.python,
        lists_are_public=lambda: door.lists_are_public,
    )
    chat, speech = OpenAiDoor(parts.passing, doorman), SpeechDoor(parts)
    doors = [chat, speech, ConverseDoor(chat, speech, doorman)]
    server = uvicorn.Server(
        uvicorn.Config(Doors(_no_app, doors), lifespan="off", log_level="warning", http="httptools")
    )
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield door
    finally:
        server.should_exit = True
        await serving
        await parts.passing.close()
        assert list(folder.iterdir()) == [], "a guest has left files"
