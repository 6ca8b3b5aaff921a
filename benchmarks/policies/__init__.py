"""Plays reproducible workloads through the production policy and through those of its peers, beside a lower bound.

`python -m benchmarks.policies` prints one table per workload; the same tables every time, since time is simulated and
every draw is seeded. `docs/concepts/policies.md` keeps them and says what they mean.
"""
