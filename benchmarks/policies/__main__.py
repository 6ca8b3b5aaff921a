"""Prints the tables: `python -m benchmarks.policies`."""

from __future__ import annotations

import argparse

from benchmarks.policies.tables import print_tables
from benchmarks.policies.traces import WORKLOADS


def main() -> None:
    """Play all workloads, or the ones that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", help="names of workloads (all of them)")
    parser.add_argument("--size", type=float, default=1.0, help="part of the tasks, 0 to 1 (1)")
    chosen = parser.parse_args()
    named = [workload for workload in WORKLOADS if not chosen.workloads or workload.name in chosen.workloads]
    print_tables(named, chosen.size)


if __name__ == "__main__":
    main()
