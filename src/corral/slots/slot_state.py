"""One slot at run time: its engine, whether that works, and what it said when it was asked last."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from corral.scheduling.values import Gate, ResidentModel
from corral.slots.values import SlotSpec
from corral.work import Engine, HasLanes, ListsModels, NotRunningError, StartsServer

log = structlog.get_logger()

CHECK_DEADLINE_S = 10.0
NOT_CHECKED = "not checked yet"
"""The problem of an engine before its first check."""


@dataclass(slots=True, eq=False)
class SlotState:
    """One slot at run time; what an engine does not answer stays as it was known."""

    spec: SlotSpec
    engine: Engine
    problem: str | None = NOT_CHECKED
    failures: int = 0
    check_due: float = 0.0
    resident: tuple[ResidentModel, ...] = ()
    loads: int = 0
    """Models that it was asked for and did not have in memory, since the server started."""
    evictions: int = 0
    """How often it gave up the memory of its models, since the server started."""
    models: frozenset[str] | None = None
    """The only models that the engine can use; None where it can use any, or has not been asked."""
    computes_on: str | None = None
    caution: str | None = None
    gate: Gate = Gate.OPEN
    start_s: float | None = None
    """Seconds that its server's start takes; 0 where it runs or there is none, None where that is unknown."""
    said_lanes: int | None = None
    """How many requests its server says that it does at once; None where it says nothing, or was not asked."""
    _starter: StartsServer | None = field(init=False, repr=False)
    """Its engine where that starts a server; asking the protocol costs as much as the rest of a guest's turn."""

    def __post_init__(self) -> None:
        self._starter = self.engine if isinstance(self.engine, StartsServer) else None

    @property
    def lanes(self) -> int:
        """How many tasks of one model it does at a time."""
        return self.spec.lanes or self.said_lanes or 1

    async def ask_models(self) -> None:
        """Ask which models its server has, if it has one."""
        if not isinstance(self.engine, ListsModels):
            return
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                self.models = frozenset(model.name for model in await self.engine.list_models())
        except NotRunningError:
            return
        except Exception as error:  # noqa: BLE001 (the bug of an engine must not end the checks of others)
            log.warning("models_unknown", slot=self.spec.id, error=str(error))

    async def ask_lanes(self) -> None:
        """Ask how many requests its server does at once; what the cluster file says goes first.

        It is asked in any case: by its answer an engine knows another Corral, to which no request goes on twice.
        """
        if not isinstance(self.engine, HasLanes):
            return
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                self.said_lanes = await self.engine.count_lanes() or self.said_lanes
        except Exception as error:  # noqa: BLE001 (as above)
            log.warning("lanes_unknown", slot=self.spec.id, error=str(error))

    async def ask_resident(self) -> None:
        """Ask what it holds in memory."""
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                held = await self.engine.resident()
        except Exception as error:  # noqa: BLE001 (as above)
            log.warning("residency_unknown", slot=self.spec.id, error=str(error))
            return
        self.note_start()
        self.resident = tuple(
            ResidentModel(engine=self.spec.engine, model=model.model, memory=model.memory) for model in held
        )
        self.computes_on = next((model.computes_on for model in held if model.computes_on), None)
        self.caution = next((model.caution for model in held if model.caution), None)

    def note_start(self) -> None:
        """Note how long the start of its server would take now."""
        self.start_s = 0.0 if self._starter is None else self._starter.start_s
