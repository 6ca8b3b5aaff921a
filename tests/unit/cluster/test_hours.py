"""Hours in a cluster file: how they are written, whose they are, and what is wrong with them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from corral.cluster import Cluster, ClusterFileError, load
from corral.hours import find_machine_zone

FILE = """
apiVersion: corral/v1
name: desk
timeZone: Europe/Berlin
nodes:
  - name: desk
    hours: {daily: "00:00-24:00"}
    gpus:
      - {index: 0, hours: {weekdays: "22:00-17:00", sunday: "9:00-12:00, 13:00-17:00", interrupt: true}}
      - {index: 1}
queues:
  - {name: night, hours: {daily: "23:00-06:00"}}
"""


def read(text: str = FILE) -> Cluster:
    return load(text, filename="cluster.yaml")


def problems_of(text: str) -> list[str]:
    with pytest.raises(ClusterFileError) as caught:
        read(text)
    return [problem.what for problem in caught.value.problems]


def test_a_gpu_has_its_own_hours_or_those_of_its_node_and_a_queue_has_its_own() -> None:
    cluster = read()
    (desk,) = cluster.nodes
    first, second = desk.gpus or ()
    assert str(desk.find_hours(first)) == (
        "weekdays 22:00-17:00; saturday closed; sunday 09:00-12:00, 13:00-17:00 (Europe/Berlin, interrupts)"
    )
    assert str(desk.find_hours(second)) == str(desk.find_hours()) == "daily 00:00-24:00 (Europe/Berlin)"
    assert str(cluster.queues["night"].hours) == "daily 23:00-06:00 (Europe/Berlin)"
    assert cluster.queues["default"].hours is None


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("Europe/Berlin", "Europe/Berln", "there is no time zone 'Europe/Berln'"),
        ('daily: "00:00-24:00"', "daily: closed", "no day has hours, so they would never begin"),
        ("22:00-17:00", "22-17", "not the hours of a day: '22-17'"),
        ("22:00-17:00", "22:00-25:00", "not the hours of a day: '22:00-25:00'"),
        ('"23:00-06:00"', "2300", "the hours of a day are text, not a number"),
        ("{daily: ", "{nightly: ", "unknown key `nightly`"),
    ],
)
def test_wrong_hours_are_refused_with_what_was_seen(before: str, after: str, what: str) -> None:
    assert what in problems_of(FILE.replace(before, after))


def test_without_a_zone_hours_are_in_that_of_the_machine() -> None:
    hours = read(FILE.replace("timeZone: Europe/Berlin\n", "")).queues["night"].hours
    assert hours is not None
    assert hours.zone == find_machine_zone()


def test_the_zone_of_the_machine_is_the_one_of_its_environment() -> None:
    # A program of its own: what is read of the machine is read once.
    code = "from corral.hours import find_machine_zone; print(find_machine_zone())"
    env = {**os.environ, "TZ": "America/New_York"}
    printed = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert printed == "America/New_York\n"
