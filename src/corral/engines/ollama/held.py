"""The models that an Ollama server has, and which of them are loaded.

A server lists as loaded only the name that was loaded first, though every model with the same weights file is then in
memory: copies have the same digest, and models made from another one (`FROM`) name the same file. Which file a model
uses is asked once for each digest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from corral.engines.http.client import ServerClient
from corral.engines.ollama.names import complete_name
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.units import Bytes
from corral.work import EngineError, HostedModel, Json, LoadedModel, Resident

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_MOST_ASKED = 16
"""Models whose weights file is asked for in one look: each takes the server some milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model in memory, as `/api/ps` lists it."""

    name: str
    digest: str
    size: int | None
    """Bytes in all."""
    on_gpu: int | None
    """Bytes of it in the GPU's memory."""
    facts: dict[str, Json]

    def describe(self) -> LoadedModel:
        """Return what people and programs see of it."""
        context = as_number(self.facts.get("context_length"))
        return LoadedModel(
            size=None if self.size is None else Bytes(self.size),
            on_gpu=None if self.on_gpu is None else Bytes(self.on_gpu),
            context=None if context is None else int(context),
            until=_read_time(self.facts, "expires_at"),
        )


class HeldModels:
    """The models of one server."""

    def __init__(self, client: ServerClient) -> None:
        self._client = client
        self._weights: dict[str, str] = {}
        """The weights file of each digest."""
        self._contexts: dict[str, int] = {}
        """Of each model that was in memory at the last look."""

    def find_context(self, model: str) -> int | None:
        """Return the context of a model that was in memory at the last look, in tokens; asks nothing."""
        return self._contexts.get(complete_name(model))

    async def list_all(self) -> dict[str, dict[str, Json]]:
        """List every model on the server by its full name, as `/api/tags` describes it. Raises: EngineError."""
        return _by_name((await self._client.look("/api/tags")).get("models"))

    async def list_hosted(self) -> tuple[HostedModel, ...]:
        """List every model on the server, by name, and what is known of those that are loaded. Raises: EngineError."""
        loaded = await self.list_loaded()
        listed = await self.list_all()
        return tuple(_describe(name, facts, loaded.get(name)) for name, facts in sorted(listed.items()))

    async def list_loaded(self) -> dict[str, Loaded]:
        """List what is loaded by the full name that was loaded first. Raises: EngineError."""
        listed = _by_name((await self._client.look("/api/ps")).get("models"))
        contexts = {name: as_number(facts.get("context_length")) for name, facts in listed.items()}
        self._contexts = {name: int(context) for name, context in contexts.items() if context}
        return {name: _read_loaded(name, facts) for name, facts in listed.items()}

    async def list_residents(self) -> tuple[Resident, ...]:
        """List every model that is in memory under each of its names; the first one alone has the memory of all."""
        residents: dict[str, Resident] = {}
        loaded = await self.list_loaded()
        for model in loaded.values():
            memory = None if model.on_gpu is None else Bytes(model.on_gpu)
            residents[model.name] = Resident(model=model.name, memory=memory)
        if loaded:
            for name in await self._list_other_names(loaded):
                residents.setdefault(name, Resident(model=name))
        return tuple(residents.values())

    async def _list_other_names(self, loaded: dict[str, Loaded]) -> list[str]:
        digests = {name: as_text(facts.get("digest")) for name, facts in (await self.list_all()).items()}
        names = {digest: name for name, digest in digests.items()} | {m.digest: m.name for m in loaded.values()}
        for digest in [digest for digest in names if digest and digest not in self._weights][:_MOST_ASKED]:
            if weights := await self._find_weights(names[digest]):
                self._weights[digest] = weights
        in_memory = {self._weights.get(model.digest) or model.digest for model in loaded.values()} - {""}
        return [name for name, digest in digests.items() if (self._weights.get(digest) or digest) in in_memory]

    async def _find_weights(self, model: str) -> str:
        """Find the file that a model takes its weights from; empty where the server does not say."""
        try:
            shown = await self._client.look("/api/show", {"model": model})
        except EngineError:
            return ""
        lines = as_text(shown.get("modelfile")).splitlines()
        files = [line for line in lines if line.startswith(("FROM ", "ADAPTER ")) and "sha256-" in line]
        return "\n".join(files)


def _by_name(models: Json) -> dict[str, dict[str, Json]]:
    listed = [as_object(model) for model in as_list(models)]
    named = {as_text(model.get("name")) or as_text(model.get("model")): model for model in listed}
    return {complete_name(name): model for name, model in named.items() if name}


def _describe(name: str, facts: dict[str, Json], loaded: Loaded | None) -> HostedModel:
    details = as_object(facts.get("details"))
    return HostedModel(
        name=name,
        size=_read_bytes(facts, "size"),
        digest=as_text(facts.get("digest")) or None,
        modified_at=_read_time(facts, "modified_at"),
        parameters=as_text(details.get("parameter_size")) or None,
        quantization=as_text(details.get("quantization_level")) or None,
        family=as_text(details.get("family")) or None,
        capabilities=_read_capabilities(facts),
        loaded=None if loaded is None else loaded.describe(),
    )


def _read_capabilities(facts: dict[str, Json]) -> tuple[str, ...] | None:
    """Read what a model can do; older servers list none."""
    return tuple(map(as_text, as_list(facts.get("capabilities")))) or None


def _read_bytes(facts: dict[str, Json], name: str) -> Bytes | None:
    size = as_number(facts.get(name))
    return None if size is None else Bytes(int(size))


def _read_time(facts: dict[str, Json], name: str) -> datetime | None:
    """Read an instant as Go writes it: nanoseconds, of which Python takes the first six digits, and a time zone."""
    match = _TIME.fullmatch(as_text(facts.get(name)))
    if match is None:
        return None
    zone = "+00:00" if match[3] == "Z" else match[3]
    return datetime.fromisoformat(f"{match[1]}{(match[2] or '')[:7]:0<7}{zone}" if match[2] else f"{match[1]}{zone}")


def _read_loaded(name: str, facts: dict[str, Json]) -> Loaded:
    size, on_gpu = as_number(facts.get("size")), as_number(facts.get("size_vram"))
    return Loaded(
        name=name,
        digest=as_text(facts.get("digest")),
        size=None if size is None else int(size),
        on_gpu=None if on_gpu is None else int(on_gpu),
        facts=facts,
    )
