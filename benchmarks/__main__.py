"""Prints every table: `python -m benchmarks`; it takes some eight minutes."""

from __future__ import annotations

from benchmarks import lint, placement, policy_cost, queue, slots, start, steps, submit
from benchmarks.policies import __main__ as policies

for measure in (
    start.main,
    queue.main,
    submit.main,
    slots.main,
    steps.main,
    placement.main,
    lint.main,
    policies.main,
    policy_cost.main,
):
    measure()
