"""The long storm: 500 tasks while the server, workers, engines and PostgreSQL are killed 100 times; prints a table.

`python tests/chaos/run.py --seed 7 --tasks 500 --kills 100`. The exit code is 0 only if nothing was lost, nothing was
done twice, every artifact is whole and nothing is left running.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import statistics
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as pytest does with the folder of the tests

from chaos.killer import WEIGHTS
from chaos.report import Report
from chaos.storm import Size, storm
from doubles.short_folders import make_short_folder

FIRST_KILLS = 6
OUTAGE_S = 30.0


def main() -> int:
    """Run a storm and print what it showed."""
    parser = argparse.ArgumentParser(description="Kill parts of Corral at random while it works.")
    parser.add_argument("--seed", type=int, default=None, help="makes the load and the order of the kills repeatable")
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--kills", type=int, default=100)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    say(f"seed {seed}: {options.tasks} tasks, {options.kills} kills")
    size = Size(
        tasks=options.tasks,
        kills=options.kills,
        batches=max(1, min(20, options.tasks // 20, options.kills)),
        drain_s=180.0,
        pace=4.0,
        first_kills=FIRST_KILLS,
        outage_s=OUTAGE_S,
    )
    folder = make_short_folder("storm")
    say(f"data and logs: {folder}")
    report = asyncio.run(storm(folder, seed=seed, size=size, say=say))
    for line in table(report):
        say(line)
    if report.problems:
        return 1
    shutil.rmtree(folder)
    return 0


def table(report: Report) -> list[str]:
    """Return the lines of the report."""
    kills = Counter(kill.kind for kill in report.kills)
    ends = report.findings.attempts
    lines = ["", f"{'killed':<12}{'times':>7}{'back: p50':>12}{'longest':>10}"]
    for kind in WEIGHTS:
        back = report.recovery_s(kind)
        figures = f"{statistics.median(back):>10.2f} s{max(back):>8.2f} s" if back else f"{'-':>12}{'-':>10}"
        lines.append(f"{kind:<12}{kills[kind]:>7}{figures}")
    lines += [
        f"{'all':<12}{kills.total():>7}",
        "",
        f"first start        killed {FIRST_KILLS} times before the storm",
        f"tasks ended        {sum(1 for line in report.findings.lines if line.data.get('state') in ENDED)}",
        f"attempts           {ends.total()}; {ends['attempt_lost']} were lost, {ends['attempt_failed']} failed",
        f"artifacts          {report.findings.artifacts}, each compared with its checksum and what it must contain",
        f"starts             {', '.join(f'{name} {count}' for name, count in report.starts.items())}",
        f"requests           {report.requests}",
        f"longest standstill {report.standstill_s:.1f} s, over however many kills",
        f"storm, then drain  {report.storm_s:.1f} s, {report.drain_s:.1f} s",
        "",
    ]
    lines += [f"PROBLEM {problem}" for problem in report.problems] or ["every task ended once; nothing is left"]
    return lines


ENDED = ("succeeded", "failed", "cancelled")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
