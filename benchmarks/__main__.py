"""Prints every table: `python -m benchmarks`; it takes some eight minutes."""

from __future__ import annotations

from benchmarks import lint, placement, policy_cost, queue, slots, start, submit
from benchmarks.policies import __main__ as policies

for measure in (
    start.main,
    queue.main,
    submit.main,
    slots.main,
    placement.main,
    lint.main,
    policies.main,
    policy_cost.main,
):
    measure()
