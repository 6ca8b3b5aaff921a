"""Power limits by the hour: the timer fires at each change, and the script sets the limit of that moment."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from corral.cluster import ClusterFileError, load
from corral.cluster.values import Gpu, Node
from corral.rendering.gpus import list_limited_gpus
from corral.rendering.power_hours import list_changes, list_windows, write_script

FILE = """
apiVersion: corral/v1
name: desk
timeZone: Europe/Berlin
nodes:
  - name: desk
    gpus:
      - model: RTX 4090
        index: 0
        powerLimit: 350
        powerHours:
          - {watts: 200, hours: {weekdays: "22:00-07:00", weekends: "20:30-10:00"}}
          - {watts: 280, hours: {daily: "06:00-09:00"}}
      - {model: RTX 3060 12GB, index: 1, powerLimit: 120}
"""
MONDAY = datetime(2026, 6, 1, tzinfo=ZoneInfo("Europe/Berlin"))


def read_node(text: str = FILE) -> Node:
    return load(text, filename="cluster.yaml").nodes[0]


def run_script(tmp_path: Path, text: str, at: datetime) -> dict[str, int]:
    """Run the script with a clock and a driver that stand for those of a machine; return the limits by GPU."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    clock = at.astimezone(ZoneInfo("Europe/Berlin"))
    for name, lines in (
        ("date", f'[ "$TZ $1" = "Europe/Berlin +%u%H%M" ] && echo {clock.isoweekday()}{clock:%H%M}'),
        ("nvidia-smi", f'echo "$@" >> {tmp_path}/limits'),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "limits").write_text("")
    subprocess.run(["/bin/sh", "-c", text], env={"PATH": str(tmp_path / "bin")}, check=True, timeout=30)
    limits = [line.split() for line in (tmp_path / "limits").read_text().splitlines()]
    return {words[1]: int(words[3]) for words in limits}


def test_script_sets_the_limit_of_every_hour_of_the_week(tmp_path: Path) -> None:
    node = read_node()
    text = write_script(list_limited_gpus(node), "nvidia-smi")
    assert node.gpus is not None

    for minutes in range(0, 7 * 24 * 60, 3 * 60 - 1):
        at = MONDAY + timedelta(minutes=minutes)
        limits = run_script(tmp_path, text, at)
        assert limits == {str(gpu.index): gpu.find_power_limit(at.astimezone(UTC)) for gpu in node.gpus}, at


@pytest.mark.parametrize(
    ("at", "limit_w"),
    [("01T06:59", 200), ("02T07:00", 280), ("02T09:00", 350), ("01T22:00", 200), ("07T20:30", 200), ("08T03:00", 200)],
)
def test_first_window_of_an_instant_has_its_limit(tmp_path: Path, at: str, limit_w: int) -> None:
    text = write_script(list_limited_gpus(read_node()), "nvidia-smi")

    instant = datetime.fromisoformat(f"2026-06-{at}").replace(tzinfo=ZoneInfo("Europe/Berlin"))

    assert run_script(tmp_path, text, instant)["0"] == limit_w


def test_timer_fires_at_each_change_and_systemd_reads_its_events() -> None:
    changes = list_changes(list_windows(list_limited_gpus(read_node())))

    assert changes == (
        "*-*-* 06:00:00 Europe/Berlin",
        "Tue,Wed,Thu,Fri,Sat *-*-* 07:00:00 Europe/Berlin",
        "*-*-* 09:00:00 Europe/Berlin",
        "Mon,Sun *-*-* 10:00:00 Europe/Berlin",
        "Sat,Sun *-*-* 20:30:00 Europe/Berlin",
        "Mon,Tue,Wed,Thu,Fri *-*-* 22:00:00 Europe/Berlin",
    )
    for change in changes:
        subprocess.run(["systemd-analyze", "calendar", change], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ('powerHours: [{watts: 200, hours: {daily: "22:00-07:00"}}]', "without a `powerLimit`"),
        (
            'powerLimit: 180, powerHours: [{watts: 200, hours: {daily: "22:00-07:00"}}]',
            "above the `powerLimit` of 180 W",
        ),
        ("powerLimit: 180, powerHours: [{watts: 100, hours: {}}]", "no day has hours"),
    ],
)
def test_limits_that_figures_of_power_would_not_count_are_refused(entry: str, what: str) -> None:
    with pytest.raises(ClusterFileError, match=what):
        load(f"apiVersion: corral/v1\nname: a\nnodes: [{{name: a, gpus: [{{index: 0, {entry}}}]}}]\n", filename="c")


def test_gpu_without_hours_has_its_limit_at_any_time() -> None:
    assert Gpu(index=0, power_limit_w=300).find_power_limit(MONDAY) == 300
    assert Gpu(index=0).find_power_limit(MONDAY) is None
