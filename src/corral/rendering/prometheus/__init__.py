"""Prometheus: what it reads, recording rules, and alerts with the remedy in them.

`rules/*.yml` need nothing but the series that the scrape configuration makes, so they can also be given to a Prometheus
that scrapes these exporters already, as long as its targets carry the label `node`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corral.rendering.documents import write_document
from corral.rendering.installation import Installation
from corral.rendering.prometheus import alerts, jobs, recording
from corral.rendering.prometheus.targets import Targets, find_targets

CONFIGURATION = "prometheus/prometheus.yml"
RECORDING = "prometheus/rules/recording.yml"
ALERTS = "prometheus/rules/alerts.yml"
_EVERY = "15s"
"""Prometheus' own default is a minute; the shortest `for` of an alert is a minute, and needs several samples."""


def render_prometheus(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render the scrape configuration, both files of rules, DCGM's counters; for Kubernetes also the right to read."""
    targets = find_targets(installations)
    shared = targets.installation
    files: dict[str, str] = {
        CONFIGURATION: write_document(shared, _make_configuration(targets), *_list_notes(targets)),
        RECORDING: write_document(shared, {"groups": [_make_group("corral-recording", recording.list_rules(targets))]}),
        ALERTS: write_document(
            shared, {"groups": [_make_group(name, rules) for name, rules in alerts.list_groups(targets)]}
        ),
    }
    if targets.gpu_nodes:
        files["prometheus/dcgm-counters.csv"] = recording.render_counters(shared)
    if targets.in_kubernetes:
        files |= jobs.render_access(targets, sorted(files))
    return files


def _make_configuration(targets: Targets) -> dict[str, Any]:
    return {
        "global": {
            "scrape_interval": _EVERY,
            "evaluation_interval": _EVERY,
            "external_labels": {"cluster": targets.installation.cluster.name},
        },
        "rule_files": ["rules/*.yml"],
        "scrape_configs": jobs.list_jobs(targets),
    }


def _list_notes(targets: Targets) -> list[str]:
    return [
        "Paths are relative to this file, which is usually in /etc/prometheus.",
        *targets.notes,
    ]


def _make_group(name: str, rules: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {"name": name, "rules": list(rules)}
