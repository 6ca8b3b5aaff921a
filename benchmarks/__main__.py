"""Prints every table: `python -m benchmarks`; it takes some six minutes."""

from __future__ import annotations

from benchmarks import queue, slots, start

for measure in (start.main, queue.main, slots.main):
    measure()
