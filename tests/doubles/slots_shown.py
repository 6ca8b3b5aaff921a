"""Devices and slots as a board shows them, without a dispatcher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from corral.scheduling.values import Gate, Place
from corral.slots.values import DeviceSpec, PlaceView, SlotSpec, SlotView
from corral.units import Bytes
from corral.work import SlotId
from doubles.engines import ScriptedEngine


def a_place_view(
    *engines: str,
    device: str = "node/gpu0",
    problems: Mapping[str, str] | None = None,
    gates: Mapping[str, Gate] | None = None,
    reason: str = "",
    visible: str | None = None,
    log: Path | None = None,
) -> PlaceView:
    """Return the slots of a GPU: of engines with problems, with gates that are not open, and with a log."""
    name, problems, gates = SlotId(device), problems or {}, gates or {}
    spec = DeviceSpec(
        name=name,
        node=device.partition("/")[0],
        provider=device,
        model="RTX 4090",
        memory=Bytes(24 * 2**30),
        visible=visible,
    )
    slots = tuple(
        SlotView(
            spec=SlotSpec(
                id=SlotId(f"{device}/{engine}"),
                device=name,
                place=name,
                engine=engine,
                make=lambda engine=engine: ScriptedEngine(name=engine),
                log=log,
            ),
            gate=gates.get(engine, Gate.OPEN),
            problem=problems.get(engine),
            resident=(),
            lanes=1,
            computes_on=None,
            caution=None,
        )
        for engine in engines
    )
    return PlaceView(
        device=spec,
        facts=Place(
            id=name,
            node=spec.node,
            device=spec.provider,
            device_model=spec.model,
            capacity=spec.capacity,
            engines=frozenset(engine for engine in engines if engine not in problems),
            engine_problems=dict(problems),
            gate_reason=reason,
        ),
        slots=slots,
        holds=(),
    )
