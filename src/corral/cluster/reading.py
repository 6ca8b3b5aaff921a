"""Reads a cluster file in four steps: YAML, shape, checks across the file, values; each step reports all its problems.

Checks across the file need a whole shape. So that a misshapen value does not hide a wrong reference elsewhere, the
value is left out after it was reported, and what is then missing gets a stand-in; everything else keeps its place.
A file of which anything was left out is never used: its problems are reported, and that is all.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from corral.cluster import explain
from corral.cluster.build import build
from corral.cluster.checks import References, check_nodes, check_queues, check_services, check_workloads
from corral.cluster.document import ClusterFileError, Document, YamlPath
from corral.cluster.gateway_checks import check_gateway
from corral.cluster.gpu_facts import FindGpu
from corral.cluster.label_checks import check_labels
from corral.cluster.parsing import read
from corral.cluster.receiver_checks import check_receivers
from corral.cluster.shape import API_VERSION, ClusterShape, find_shape_at
from corral.cluster.values import Cluster


def load_text(text: str, *, filename: str, find_gpu: FindGpu | None) -> Cluster:
    """Read a cluster file; see `corral.cluster.load`."""
    document = read(text, filename=filename)
    if not isinstance(document.value, dict):
        raise _make_error(document)
    shape = validate(document)
    if shape is None:
        raise _make_error(document)
    references = References(shape, document)
    gpu_models = check_nodes(references, find_gpu)
    check_labels(references)
    check_services(references)
    check_queues(references)
    check_receivers(references)
    check_gateway(references)
    gpu_models |= check_workloads(references, find_gpu)
    if document.problems:
        raise _make_error(document)
    return build(shape, gpu_models)


def _make_error(document: Document) -> ClusterFileError:
    if not document.problems:
        empty = document.value is None
        what = "the file is empty" if empty else "the file must be a mapping, not a list or a single value"
        document.report("cluster.bad_value", what, at=(), hint="start it with `apiVersion: corral/v1`")
    return ClusterFileError(document.sort_problems())


_MOST_ROUNDS = 8  # a wrong list entry takes three: leave it out, fill what is missing, validate
_STAND_IN = "left-out-"
_STAND_INS: dict[str, Any] = {  # plain YAML that satisfies the shape
    "apiVersion": API_VERSION,
    "port": 1,
    "pricePerKwh": 1,
    "services": {},
    "urlFrom": "LEFT_OUT",
    "watts": 1,
}


def validate(document: Document) -> ClusterShape | None:
    """Validate the shape and report what is wrong with it; return what remains, or None when nothing does."""
    value: Any = copy.deepcopy(document.value)  # plain YAML
    numbers = itertools.count()
    for round_ in range(_MOST_ROUNDS):
        try:
            return ClusterShape.model_validate(value)
        except ValidationError as error:
            details = error.errors(include_url=False)
        for detail in details:
            if round_ == 0:
                explain.report(detail, document)
            stand_in = f"{_STAND_IN}{next(numbers)}"
            document.stand_ins.add(stand_in)
            _leave_out(value, detail, stand_in)
    return None


def _leave_out(value: Any, error: ErrorDetails, stand_in: str) -> None:  # plain YAML
    path: YamlPath = tuple(part for part in error["loc"] if part != "[key]")
    if path and isinstance(path[-1], int):
        path = _replace_entry(value, path, stand_in)
    parent = _get_at(value, path[:-1])
    if not path or not isinstance(parent, dict):
        return  # a larger part around it was left out before
    if error["type"] == "missing":
        parent[path[-1]] = _make_stand_in(path, stand_in)
    else:
        parent.pop(path[-1], None)


def _replace_entry(value: Any, path: YamlPath, stand_in: str) -> YamlPath:  # plain YAML
    """Put a stand-in at a list's entry, so that no other changes its place; return what else must be left out."""
    entries: Any = _get_at(value, path[:-1])  # plain YAML
    entry: Any = _get_at(value, path)  # plain YAML
    index = path[-1]
    if not isinstance(entries, list) or not isinstance(index, int):
        return ()
    is_mapping = find_shape_at(path) is not find_shape_at(path[:-2])
    if not is_mapping and str(entry).startswith(_STAND_IN):
        return path[:-1]  # the list does not hold texts
    entries[index] = {} if is_mapping else stand_in
    return ()


def _make_stand_in(path: YamlPath, text: str) -> Any:  # plain YAML
    name = str(path[-1])
    if name == "kind":
        return "nfs" if path[0] == "storage" else "loadBalancer"
    if name == "nodes":
        return [{"name": text}]
    return f"http://{text}" if name == "url" else _STAND_INS.get(name, text)


def _get_at(value: Any, path: YamlPath) -> Any:  # plain YAML
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value
