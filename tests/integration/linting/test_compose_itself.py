"""What Compose refuses, the linter finds: forms of services, held to Docker Compose itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.linting.compose.fields import ANY_NAME, PROJECT, Fields
from corral.linting.runner import lint
from corral.linting.values import Severity, Source
from doubles.docker_compose import find_program, refuse

SERVICES = {
    "device without capabilities": "{image: 'a:1', deploy: {resources: {reservations: {devices: [{driver: nvidia}]}}}}",
    "count with ids": "{image: 'a:1', gpus: [{count: 1, device_ids: ['0']}]}",
    "ids as numbers": "{image: 'a:1', gpus: [{device_ids: [0]}]}",
    "gpus as a number": "{image: 'a:1', gpus: 2}",
    "gpus all": "{image: 'a:1', gpus: all}",
    "gpus counted": "{image: 'a:1', gpus: [{count: 1}]}",
    "count as text": "{image: 'a:1', gpus: [{count: '2'}]}",
    "count all": "{image: 'a:1', gpus: [{count: all}]}",
    "count as a word": "{image: 'a:1', gpus: [{count: two}]}",
    "count as a part": "{image: 'a:1', gpus: [{count: 0.5}]}",
    "capabilities as text": "{image: 'a:1', gpus: [{capabilities: gpu}]}",
    "capabilities in two brackets": "{image: 'a:1', gpus: [{capabilities: [[gpu]]}]}",
    "a device that is a word": "{image: 'a:1', deploy: {resources: {reservations: {devices: [nvidia]}}}}",
    "devices without a dash": "{image: 'a:1', deploy: {resources: {reservations: {devices: {driver: nvidia}}}}}",
    "by CDI": "{image: 'a:1', devices: ['nvidia.com/gpu=0']}",
    "driver cdi": (
        "{image: 'a:1', deploy: {resources: {reservations: {devices: "
        "[{driver: cdi, device_ids: ['nvidia.com/gpu=all'], capabilities: [gpu]}]}}}}"
    ),
    "a field that is none": "{image: 'a:1', deploi: {}}",
    "a field of Kubernetes": "{image: 'a:1', deploy: {resources: {limits: {memroy: 1g}}}}",
    "a field of one's own": "{image: 'a:1', x-note: anything, labels: {any: thing}}",
    "a volume that is none": "{image: 'a:1', volumes: ['models:/data']}",
    "a folder": "{image: 'a:1', volumes: ['./models:/data']}",
    "a network that is none": "{image: 'a:1', networks: [inside]}",
    "a service that is none": "{image: 'a:1', depends_on: [other]}",
    "the network of none": "{image: 'a:1', network_mode: 'service:other'}",
    "a test without its kind": "{image: 'a:1', healthcheck: {test: [curl, localhost]}}",
    "a test": "{image: 'a:1', healthcheck: {test: [CMD, curl, localhost], interval: 30s}}",
    "a test of one line": "{image: 'a:1', healthcheck: {test: curl localhost}}",
    "a duration without a unit": "{image: 'a:1', healthcheck: {interval: 30}}",
    "two numbers of replicas": "{image: 'a:1', scale: 2, deploy: {replicas: 3}}",
    "a name for two": "{image: 'a:1', container_name: name, deploy: {replicas: 2}}",
    "two networks": "{image: 'a:1', network_mode: host, networks: [default]}",
    "two limits": "{image: 'a:1', mem_limit: 1g, deploy: {resources: {limits: {memory: 2g}}}}",
    "a merge": "{<<: {image: 'a:1'}, environment: [A=1, B], ports: ['127.0.0.1:1:1', '2', 3]}",
    "defaults": "{image: 'a:${TAG:-1}', ports: ['${PORT:-80}:80'], scale: '${COUNT:-1}'}",
}


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
def test_an_error_is_what_compose_refuses_and_nothing_else(service: str, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(f"services:\n  first: {service}\n")
    report = lint([Source(name="compose.yaml", text=file.read_text())])
    errors = [finding for finding in report.findings if finding.weight is Severity.ERROR]
    refused = refuse(file)
    assert bool(errors) == bool(refused), (refused, [finding.what for finding in report.findings])


def read_specification() -> dict[str, Any]:
    """The specification that the program itself carries."""
    content = find_program().read_bytes()
    start = re.search(rb'\{\s*"\$schema": "[^"]+",\s*"\$id": "compose_spec.json"', content)
    assert start is not None
    text = content[start.start() : start.start() + 400_000].decode("utf-8", "replace")
    specification, _ = json.JSONDecoder().raw_decode(text)
    return specification


def list_fields(schema: dict[str, Any], all_of: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every field that the specification closes to others, by its path."""
    if "$ref" in schema:
        yield from list_fields(all_of["definitions"][schema["$ref"].rpartition("/")[2]], all_of, path)
    for choice in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        yield from list_fields(choice, all_of, path)
    if isinstance(schema.get("items"), dict):
        yield from list_fields(schema["items"], all_of, path)
    for name, below in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from list_fields(below, all_of, f"{path}.{name}")
    for pattern, below in schema.get("patternProperties", {}).items():
        if pattern != "^x-":
            yield from list_fields(below, all_of, f"{path}.{ANY_NAME}")


def list_own(fields: Fields, path: str = "") -> Iterator[str]:
    for name, below in fields.items():
        if name != ANY_NAME:
            yield f"{path}.{name}"
        if below is not None:
            yield from list_own(below, f"{path}.{name}")


def test_the_fields_are_those_of_the_specification() -> None:
    specification = read_specification()
    assert set(list_own(PROJECT)) == set(list_fields(specification, specification))
