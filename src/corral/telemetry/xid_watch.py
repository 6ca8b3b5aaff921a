"""XID errors of NVIDIA's GPUs, as the driver's events bring them; each is taken once.

The driver keeps events for a client from its registration on (NVML, "Event Handling Methods": Linux only, and not for
every GPU): errors before that are not seen, and a GPU that has no such events is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

from corral.telemetry.nvml import ask

_MOST_EVENTS = 256
"""Read at one look; a GPU that reports without end does not hold the look up."""


class XidWatch:
    """Takes XIDs of the GPUs that are registered; made by `open_xid_watch`."""

    def __init__(self, nvml: Any, events: Any) -> None:  # Any: the binding is untyped, here and below
        self._nvml = nvml
        self._events = events

    def take(self) -> Mapping[str, tuple[int, ...]]:
        """Take the XIDs since the last call, by the GPU's UUID; returns at once."""
        xids: defaultdict[str, list[int]] = defaultdict(list)
        for _ in range(_MOST_EVENTS):
            event = ask(self._nvml, self._nvml.nvmlEventSetWait_v2, self._events, 0)
            if event is None:  # none is left, or the GPU is lost, which the look shows
                break
            uuid = ask(self._nvml, self._nvml.nvmlDeviceGetUUID, event.device)
            if event.eventType == self._nvml.nvmlEventTypeXidCriticalError and uuid is not None:
                xids[uuid].append(int(event.eventData))
        return {uuid: tuple(numbers) for uuid, numbers in xids.items()}


@contextmanager
def open_xid_watch(nvml: Any, gpus: Iterable[int]) -> Generator[XidWatch | None]:
    """Register for the XIDs of GPUs by index, while their driver is open; None where it has no events."""
    events = ask(nvml, nvml.nvmlEventSetCreate)
    if events is None:
        yield None
        return
    try:
        for gpu in gpus:
            handle = ask(nvml, nvml.nvmlDeviceGetHandleByIndex, gpu)
            if handle is not None:
                ask(nvml, nvml.nvmlDeviceRegisterEvents, handle, nvml.nvmlEventTypeXidCriticalError, events)
        yield XidWatch(nvml, events)
    finally:
        ask(nvml, nvml.nvmlEventSetFree, events)
