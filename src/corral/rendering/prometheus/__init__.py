"""Prometheus: what it reads, recording rules, and alerts with the remedy in them.

`rules/*.yml` need nothing but the series that the scrape configuration makes, so they can also be given to a Prometheus
that scrapes these exporters already, as long as its targets carry the label `node`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corral.rendering.documents import document
from corral.rendering.installation import Installation
from corral.rendering.prometheus import access, alerts, counters, jobs, recording
from corral.rendering.prometheus.sights import Sight, sight_of

CONFIGURATION = "prometheus/prometheus.yml"
RECORDING = "prometheus/rules/recording.yml"
ALERTS = "prometheus/rules/alerts.yml"
_EVERY = "15s"
"""Prometheus' own default is a minute; the shortest `for` of an alert is a minute, and needs several samples."""


def files(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """The scrape configuration, both files of rules, DCGM's counters; for Kubernetes also what Prometheus may read."""
    sight = sight_of(installations)
    one = sight.installation
    written: dict[str, str] = {
        CONFIGURATION: document(one, _configuration(sight), *_notes(sight)),
        RECORDING: document(one, _groups("corral-recording", recording.rules(sight))),
        ALERTS: document(one, {"groups": [_group(name, rules) for name, rules in alerts.groups(sight)]}),
    }
    if sight.gpu_nodes:
        written["prometheus/dcgm-counters.csv"] = counters.file(one)
    if sight.in_kubernetes:
        written |= access.files(sight, sorted(written))
    return written


def _configuration(sight: Sight) -> dict[str, Any]:
    return {
        "global": {
            "scrape_interval": _EVERY,
            "evaluation_interval": _EVERY,
            "external_labels": {"cluster": sight.installation.cluster.name},
        },
        "rule_files": ["rules/*.yml"],
        "scrape_configs": jobs.jobs(sight),
    }


def _notes(sight: Sight) -> list[str]:
    return [
        "Paths are relative to this file, which usually lies in /etc/prometheus.",
        *sight.notes,
    ]


def _groups(name: str, rules: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {"groups": [_group(name, rules)]}


def _group(name: str, rules: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {"name": name, "rules": list(rules)}
