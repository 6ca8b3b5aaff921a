"""The processor time of `corral lint` over many manifests, with all rules and a cluster file.

The manifests are those of one file of engines with their claims and Services, again and again with other namespaces.
Memory is the largest resident set of the process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.table import machine, show
from corral.cluster.values import Cluster
from corral.linting.rules import CHECKS
from corral.linting.runner import lint
from corral.linting.values import Source
from corral.operations.cluster_file import check_cluster, read_cluster_file

MANIFESTS = Path(__file__).parents[1] / "tests" / "unit" / "linting" / "correct" / "engines" / "engines.yaml"
HARDWARE = Path(__file__).parents[1] / "examples" / "hydra" / "cluster.yaml"
AIMS = {1_000: "< 1 s", 10_000: ""}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    cluster = check_cluster(read_cluster_file(HARDWARE)).cluster
    rows = [
        (
            f"{number:,} manifests",
            f"{statistics.median(_seconds(number, cluster) for _ in range(chosen.rounds)):.2f} s",
            aim,
        )
        for number, aim in AIMS.items()
    ]
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    notes = [f"{len(CHECKS)} rules, {chosen.rounds} rounds, up to {megabytes:,.0f} MB of memory", machine()]
    show("Lint", ("", "median, processor time", "aim"), rows, notes)


def _seconds(number: int, cluster: Cluster) -> float:
    sources = list(_sources(number))
    begun = time.process_time()
    report = lint(sources, cluster=cluster)
    taken = time.process_time() - begun
    if report.documents < number:
        raise AssertionError(f"{report.documents} documents of {number}")
    return taken


def _sources(number: int) -> Iterator[Source]:
    text = MANIFESTS.read_text(encoding="utf-8")
    documents = text.count("\n---\n") + 1
    for copy in range(-(-number // documents)):
        yield Source(name=f"{copy}.yaml", text=text.replace("namespace: ai", f"namespace: ai-{copy}"))


if __name__ == "__main__":
    main()
