"""The models of a server that speaks OpenAI's API: which it lists, and which of them are in memory, as far as it says.

`/v1/models` says nothing of memory. vLLM, SGLang and a llama-server with one model hold all that they list; a
llama-server that keeps several gives each a `status`; Speaches lists those in memory at `/api/ps`, as Ollama does. Of
any other server it is unknown. Servers of speech with a protocol of their own (`speech_dialects`) hold the one model
that they were started with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from corral.engines.http.client import ServerClient
from corral.engines.openai.abilities import read_capabilities, read_context
from corral.engines.openai.errors import CallMissingError
from corral.engines.openai.speech_dialects import SpeechDialect, find_dialect, list_dialects
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.units import Bytes, format_count
from corral.work import EngineError, HostedModel, Json, LoadedModel, Resident

LIST = "/v1/models"
_DESCRIPTION = "/openapi.json"
"""Where FastAPI describes a server's paths."""
_LOADED = "/api/ps"
_PROPS = "/props"
_LLAMA_SERVER = "llamacpp"
_HOLD_ALL = frozenset({_LLAMA_SERVER, "vllm", "sglang"})
"""Servers that hold all that they list, as they name themselves in `owned_by` (llama-server b11434; vLLM
`entrypoints/openai/models/serving.py`; SGLang `srt/entrypoints/http_server.py`)."""


class ServedModels:
    """The models of one server."""

    def __init__(self, client: ServerClient) -> None:
        self._client = client
        self._dialect: SpeechDialect | None = None
        self._is_dialect_known = False
        self._has_list_of_loaded: bool | None = None
        """Whether the server has one in that form; None until it is known."""
        self._props: tuple[str, dict[str, Json]] | None = None
        """What `_PROPS` said, of which model."""

    @property
    def dialect(self) -> SpeechDialect | None:
        """The server's own protocol of speech; None where it has none, or was not asked yet."""
        return self._dialect

    async def find_dialect(self) -> SpeechDialect | None:
        """Return the server's own protocol of speech, after asking for it once. Raises: EngineError."""
        if not self._is_dialect_known:
            with suppress(CallMissingError):
                await self._list()
        return self._dialect

    async def list_hosted(self) -> tuple[HostedModel, ...]:
        """List every model under each of its names, and which are known to be in memory. Raises: EngineError."""
        listed = await self._list()
        loaded, props = await self._find_loaded(listed), await self._find_props(listed)
        models = {
            name: _describe(name, facts, props, is_loaded=as_text(facts.get("id")) in loaded)
            for facts in listed
            for name in _list_names(facts)
        }
        return tuple(models[name] for name in sorted(models))

    async def list_residents(self) -> tuple[Resident, ...]:
        """List the models that are known to be in memory, under each of their names. Raises: EngineError."""
        listed = await self._list()
        loaded = await self._find_loaded(listed)
        names = {name: None for facts in listed if as_text(facts.get("id")) in loaded for name in _list_names(facts)}
        return tuple(Resident(model=name) for name in names)

    async def unload_all(self) -> None:
        """Unload the models in memory, as far as the server has a way to. Raises: EngineError."""
        for facts in await self._list():
            if _read_status(facts) == "loaded":
                await self._client.ask("/models/unload", {"model": as_text(facts.get("id"))}, note=lambda _: None)
        for name in await self._ask_for_loaded():
            await self._client.delete(f"{_LOADED}/{name}")

    async def can_unload(self) -> bool:
        """Whether the server is one that unloads; those that hold all that they list do not. Raises: EngineError."""
        if any(_read_status(facts) for facts in await self._list()):
            return True
        await self._ask_for_loaded()
        return self._has_list_of_loaded is True

    async def _list(self) -> list[dict[str, Json]]:
        try:
            answer = await self._client.look(LIST)
        except CallMissingError:
            return await self._list_by_dialect()
        self._is_dialect_known = True
        if not isinstance(answer.get("data"), list):
            raise self._client.make_answer_error(f"{LIST} has no list of models")
        return [facts for facts in map(as_object, as_list(answer["data"])) if as_text(facts.get("id"))]

    async def _list_by_dialect(self) -> list[dict[str, Json]]:
        """List the one model of a server of speech with a protocol of its own. Raises: CallMissingError for others."""
        if not self._is_dialect_known:
            described = await self._client.look(_DESCRIPTION)
            self._dialect = find_dialect(as_object(described.get("paths")))
            self._is_dialect_known = True
        if self._dialect is None:
            raise CallMissingError(f"the server has no {LIST}", where=self._client.url)
        return [{"id": self._dialect.name, "owned_by": self._dialect.name}]

    async def _find_loaded(self, listed: list[dict[str, Json]]) -> set[str]:
        known = {as_text(facts.get("id")) for facts in listed if _holds(facts)}
        says = any(_read_status(facts) or _is_held_for_ever(facts) for facts in listed)
        return known if says else {*known, *await self._ask_for_loaded()}

    async def _find_props(self, listed: list[dict[str, Json]]) -> dict[str, Json]:
        """Return how a llama-server describes its one model, which it is asked once; nothing of others."""
        if len(listed) != 1 or listed[0].get("owned_by") != _LLAMA_SERVER:
            return {}
        model = as_text(listed[0].get("id"))
        if self._props is None or self._props[0] != model:
            try:
                self._props = (model, await self._client.look(_PROPS))
            except CallMissingError:
                self._props = (model, {})
            except EngineError:
                return {}
        return self._props[1]

    async def _ask_for_loaded(self) -> list[str]:
        """Ask for the models in memory as Speaches lists them; nothing where the server has no such list."""
        if self._has_list_of_loaded is False:
            return []
        try:
            listed = (await self._client.look(_LOADED)).get("models")
        except CallMissingError:
            listed = None
        except EngineError:
            return []
        # Ollama's list has the path, too; its entries are objects, and are unloaded in another way.
        self._has_list_of_loaded = isinstance(listed, list) and all(isinstance(name, str) for name in as_list(listed))
        return as_list(listed) if self._has_list_of_loaded else []


def _holds(facts: dict[str, Json]) -> bool:
    status = _read_status(facts)
    return status == "loaded" if status else _is_held_for_ever(facts)


def _is_held_for_ever(facts: dict[str, Json]) -> bool:
    owner = as_text(facts.get("owned_by"))
    return owner in _HOLD_ALL or owner in list_dialects()


def _read_status(facts: dict[str, Json]) -> str:
    return as_text(as_object(facts.get("status")).get("value"))


def _list_names(facts: dict[str, Json]) -> Iterator[str]:
    """List the names under which a model can be asked for."""
    yield as_text(facts.get("id"))
    yield from filter(None, map(as_text, as_list(facts.get("aliases"))))


def _describe(name: str, facts: dict[str, Json], props: dict[str, Json], *, is_loaded: bool) -> HostedModel:
    meta = as_object(facts.get("meta"))
    size, parameters = as_number(meta.get("size")), as_number(meta.get("n_params"))
    context, capabilities = read_context(facts), read_capabilities(facts, props)
    return HostedModel(
        name=name,
        size=None if size is None else Bytes(int(size)),
        parameters=None if parameters is None else format_count(parameters),
        quantization=as_text(meta.get("ftype")) or None,
        context=context,
        capabilities=None if capabilities is None else tuple(sorted(capabilities)),
        loaded=LoadedModel(context=context) if is_loaded else None,
    )
