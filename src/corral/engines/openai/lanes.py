"""How many requests a server does at once, where it says so: llama-server at `/props`, another Corral by its slots.

vLLM, SGLang, LM Studio and Speaches have no path that says it.

Sources: `tools/server/README.md` of llama.cpp (b10434), as xllamacpp 2026.10 answers too; Corral's own slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from corral.engine_kinds import ENGINES
from corral.engines.http.client import ServerClient
from corral.engines.openai.errors import CallMissingError
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import EngineUnavailableError, Json


class SaidLanes:
    """The lanes of one server; a path that it lacks is asked for again only after it was away."""

    def __init__(self, client: ServerClient) -> None:
        self._client = client
        self._missing: set[str] = set()
        self.is_corral = False
        """Whether the server is another Corral; known once it was asked."""

    async def count(self) -> int | None:
        """Return how many requests the server does at once; None where it does not say. Raises: EngineError."""
        try:
            for path, read in _SAID_AT.items():
                if (lanes := await self._ask(path, read)) is not None:
                    self.is_corral = path == _CORRAL
                    return lanes or None
        except EngineUnavailableError:
            self._missing.clear()
            raise
        return None

    async def _ask(self, path: str, read: Callable[[dict[str, Json]], int | None]) -> int | None:
        if path in self._missing:
            return None
        try:
            lanes = read(await self._client.look(path))
        except CallMissingError:
            lanes = None
        if lanes is None:
            self._missing.add(path)
        return lanes


def read_total_slots(props: Mapping[str, Json]) -> int | None:
    """Return the lanes of a llama-server."""
    count = as_number(props.get("total_slots"))
    return int(count) if count is not None and count >= 1 else None


def count_slots(slots: Mapping[str, Json]) -> int | None:
    """Return how many requests another Corral does at once: the lanes of its devices; None of other answers.

    0 where none of its slots takes work now, as while it starts: that says nothing of later.
    Of the slots on a device the one with the most lanes counts: engines take turns there. Slots that take no work now
    count nothing, and those of engines without models never do.
    """
    if not isinstance(slots.get("items"), list):
        return None
    devices: dict[str, int] = {}
    for slot in map(as_object, as_list(slots["items"])):
        kind = ENGINES.get(as_text(slot.get("engine")))
        has_models = kind is not None and (kind.medium is not None or kind.lists_models)
        if not has_models or slot.get("gate") != "open" or slot.get("problem") is not None:
            continue
        device, lanes = as_text(slot.get("device")), int(as_number(slot.get("lanes")) or 1)
        devices[device] = max(devices.get(device, 0), lanes)
    return sum(devices.values())


_CORRAL = "/corral/v1/slots"
_SAID_AT: Mapping[str, Callable[[Mapping[str, Json]], int | None]] = MappingProxyType(
    {"/props": read_total_slots, _CORRAL: count_slots}
)
