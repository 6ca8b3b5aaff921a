"""A set, followed until no picture of it is left to make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from corral.client.api import Api
from corral.work import Json

POLL_S = 2.0


async def wait_for_set(api: Api, name: str, on_change: Callable[[Json], None]) -> Json:
    """Return the set once it is done; `on_change` is called with it whenever its counts have changed.

    Raises: RemoteError.
    """
    before: Json = None
    while True:
        shown = await api.get(f"/corral/v1/sets/{name}")
        if shown["states"] != before:
            on_change(shown)
        before = shown["states"]
        if not before.get("open"):
            return shown
        await asyncio.sleep(POLL_S)
