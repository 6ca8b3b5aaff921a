"""The slots of a server and their gates, as a switch of layouts uses them."""

from __future__ import annotations

from collections.abc import Sequence

from corral.client.api import Api
from corral.operations.deploying.draining import SlotSeen

_SLOTS = "/corral/v1/slots"


class SlotGates:
    """Lists the slots of a server, closes and opens them. Methods raise RemoteError."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def list_slots(self) -> Sequence[SlotSeen]:
        """List all slots."""
        answer = await self._api.get(_SLOTS)
        return [
            SlotSeen(
                id=slot["id"],
                instance=slot["instance"],
                gate=slot["gate"],
                tasks=len(slot["tasks"]),
                ends_at=None if slot["running"] is None else slot["running"]["expected_end"],
            )
            for slot in answer["items"]
        ]

    async def drain(self, slots: Sequence[str]) -> None:
        """Give slots nothing new."""
        await self._api.post(f"{_SLOTS}/drain", {"slots": list(slots)})

    async def resume(self, slots: Sequence[str]) -> None:
        """Let slots take tasks again."""
        await self._api.post(f"{_SLOTS}/resume", {"slots": list(slots)})
