"""Kubernetes' own schemas, strict, each read once: `kubernetes_validate.validate` reads 5 MB for every object."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema
import yaml
from kubernetes_validate.utils import all_versions, major_minor, schema_contents
from referencing import Registry, Resource

OLDEST, NEWEST = "1.34", "1.37"
"""The oldest Kubernetes that is written for, and the newest whose schemas are packaged."""


def objects_in(files: Mapping[str, str], folder: str = "kubernetes/") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every Kubernetes object of rendered files, with its path; no patches, values of charts and kustomizations."""
    for path, text in files.items():
        if path.startswith(folder) and path.endswith(".yaml"):
            for document in yaml.load_all(text, Loader=yaml.CSafeLoader):
                if document.get("kind", "Kustomization") not in ("Kustomization", "Configuration"):
                    yield path, document


def refusals(files: Mapping[str, str], version: str) -> list[str]:
    """What the schemas of a version refuse in rendered files."""
    return [
        f"{path}: {document['kind']} {document['metadata']['name']}: {error.json_path}: {error.message}"
        for path, document in objects_in(files)
        for error in _validator(version, document["kind"], document["apiVersion"]).iter_errors(document)
    ]


@lru_cache
def _validator(version: str, kind: str, api_version: str) -> jsonschema.Draft202012Validator:
    """The validator that `kubernetes_validate` makes for a kind."""
    short = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = schema_contents(f"{_folder(version)}/{kind.lower()}-{short}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version))


@lru_cache
def _definitions(version: str) -> Registry[Any]:
    return Resource.from_contents(schema_contents(f"{_folder(version)}/_definitions.json", version)) @ Registry()


def _folder(version: str) -> str:
    return next(
        f"kubernetes-json-schema/v{candidate}-local-strict"
        for candidate in all_versions()
        if major_minor(candidate) == version
    )
