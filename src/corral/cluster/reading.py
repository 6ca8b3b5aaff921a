"""Reads a cluster file in four steps: YAML, shape, checks across the file, values; each step reports all it finds."""

from __future__ import annotations

from corral.cluster.build import build
from corral.cluster.document import Document
from corral.cluster.errors import ClusterFileError
from corral.cluster.gpu_facts import FindGpu
from corral.cluster.node_checks import check_nodes
from corral.cluster.parsing import read
from corral.cluster.queue_checks import check_queues
from corral.cluster.references import References
from corral.cluster.salvage import validate
from corral.cluster.service_checks import check_services
from corral.cluster.values import Cluster
from corral.cluster.workload_checks import check_workloads


def load_text(text: str, *, filename: str, find_gpu: FindGpu | None) -> Cluster:
    """Read a cluster file; see `corral.cluster.load`."""
    document = read(text, filename=filename)
    if not isinstance(document.value, dict):
        raise _unusable(document)
    shape = validate(document)
    if shape is None:
        raise _unusable(document)
    references = References(shape, document)
    gpu_models = check_nodes(references, find_gpu)
    check_services(references)
    check_queues(references)
    gpu_models |= check_workloads(references, find_gpu)
    if document.problems:
        raise _unusable(document)
    return build(shape, gpu_models)


def _unusable(document: Document) -> ClusterFileError:
    if not document.problems:
        empty = document.value is None
        what = "the file is empty" if empty else "the file must be a mapping, not a list or a single value"
        document.report("cluster.bad_value", what, at=(), hint="start it with `apiVersion: corral/v1`")
    return ClusterFileError(document.sorted_problems())
