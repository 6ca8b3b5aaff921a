"""What devices, slots and guests are now, for streams: all of it once, then what has changed.

One look for all streams together, a few times a second while any is open; what is as it was is not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

import asyncpg
import structlog

from corral.server.api.slot_schemas import Slots, SlotsChanged
from corral.tasks.store.pool import CONNECTION_LOST

LOOK_EVERY_S = 0.25

_log = structlog.get_logger()
_GUESTS = ("guests", "")
_Key = tuple[str, str]


class SlotChanges:
    """Devices, slots and guests of one server, as they change."""

    def __init__(self, look: Callable[[], Awaitable[Slots]], *, every_s: float = LOOK_EVERY_S) -> None:
        """`look` describes them as they are now."""
        self._look = look
        self._every_s = every_s
        self._seen: Slots | None = None
        self._changed = asyncio.Event()
        self._followers = 0
        self._looking: asyncio.Task[None] | None = None

    async def follow(self) -> AsyncGenerator[SlotsChanged]:
        """Yield everything, then changes as they come, for ever."""
        self._followers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on(), name="slot-changes")
        sent: Mapping[_Key, str] = {}
        try:
            while True:
                changed = self._changed
                if self._seen is not None:
                    now = _index(self._seen)
                    if now != sent:
                        yield _compare(sent, now, self._seen)
                        sent = now
                await changed.wait()
        finally:
            self._followers -= 1
            if not self._followers:
                self._stop()

    def _stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._looking = self._seen = None

    async def _look_on(self) -> None:
        while True:
            try:
                self._seen = await self._look()
            except (*CONNECTION_LOST, asyncpg.PostgresError) as error:  # the next look can do
                _log.info("slots_unknown", reason=type(error).__name__)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            await asyncio.sleep(self._every_s)


def _index(slots: Slots) -> dict[_Key, str]:
    """Return each part as text, by its kind and name."""
    parts = {("device", device.id): device.model_dump_json() for device in slots.devices}
    parts |= {("slot", slot.id): slot.model_dump_json() for slot in slots.items}
    return parts | {_GUESTS: "".join(guest.model_dump_json() for guest in slots.guests)}


def _compare(sent: Mapping[_Key, str], now: Mapping[_Key, str], slots: Slots) -> SlotsChanged:
    return SlotsChanged(
        whole=not sent,
        devices=[item for item in slots.devices if sent.get(("device", item.id)) != now["device", item.id]],
        items=[item for item in slots.items if sent.get(("slot", item.id)) != now["slot", item.id]],
        guests=None if sent.get(_GUESTS) == now[_GUESTS] else slots.guests,
        gone=sorted(name for kind, name in sent.keys() - now.keys() if kind == "slot"),
        gone_devices=sorted(name for kind, name in sent.keys() - now.keys() if kind == "device"),
    )
