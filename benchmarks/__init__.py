"""Measures how fast Corral is, beside others where there are others.

`python -m benchmarks` prints every table; `python -m benchmarks.queue`, `.slots` and `.start` print one each.
`docs/benchmarks.md` says what is compared and keeps the last figures.
"""
