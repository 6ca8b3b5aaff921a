"""The long storm: 1,000 faults at random in the server, workers, engines, PostgreSQL and the disk; prints a table.

`python tests/chaos/run.py --seed 7 --faults 1000` takes some hours. The exit code is 0 only if nothing was lost,
nothing was done twice, every artifact is whole and nothing is left running.
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
    parser = argparse.ArgumentParser(description="Let parts of Corral fail at random while it works.")
    parser.add_argument("--seed", type=int, default=None, help="makes the load and the order of the kills repeatable")
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=None, help="three for each fault unless said otherwise")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    tasks = 3 * options.faults if options.tasks is None else options.tasks
    say(f"seed {seed}: {tasks} tasks, {options.faults} faults")
    size = Size(
        tasks=tasks,
        kills=options.faults,
        batches=max(1, min(tasks // 20, options.faults, 400)),
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
    lines = ["", f"{'fault':<16}{'times':>7}{'back: p50':>12}{'longest':>10}"]
    for kind in WEIGHTS:
        back = report.recovery_s(kind)
        figures = f"{statistics.median(back):>10.2f} s{max(back):>8.2f} s" if back else f"{'-':>12}{'-':>10}"
        lines.append(f"{kind:<16}{kills[kind]:>7}{figures}")
    lines += [
        f"{'all':<16}{kills.total():>7}",
        "",
        *([] if report.disk_is_small else ["full disk          left out: only root can mount a small one", ""]),
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
