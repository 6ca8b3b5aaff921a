"""Prints every table: `python -m benchmarks`; it takes some six minutes."""

from __future__ import annotations

from benchmarks import placement, queue, slots, start

for measure in (start.main, queue.main, slots.main, placement.main):
    measure()
