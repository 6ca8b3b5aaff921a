"""Reads a cluster file in four steps: YAML, shape, checks across the file, values; each step reports all it finds."""

from __future__ import annotations

from corral.cluster.build import build
from corral.cluster.checks import Checks, FindGpu
from corral.cluster.document import Document, read
from corral.cluster.errors import ClusterFileError
from corral.cluster.salvage import validate
from corral.cluster.values import Cluster


def load_text(text: str, *, filename: str, find_gpu: FindGpu | None) -> Cluster:
    """Read a cluster file; see `corral.cluster.load`."""
    document = read(text, filename=filename)
    if not isinstance(document.value, dict):
        raise _unusable(document)
    shape = validate(document)
    checks = None if shape is None else Checks(shape, document, find_gpu)
    if checks is not None:
        checks.run()
    if document.problems or shape is None or checks is None:
        raise _unusable(document)
    return build(shape, checks.gpu_models)


def _unusable(document: Document) -> ClusterFileError:
    if not document.problems:
        empty = document.value is None
        what = "the file is empty" if empty else "the file must be a mapping, not a list or a single value"
        document.report("cluster.bad_value", what, at=(), hint="start it with `apiVersion: corral/v1`")
    return ClusterFileError(document.sorted_problems())
