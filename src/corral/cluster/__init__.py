"""The cluster file: text in, checked values out, every problem at once with line and column.

Belongs here: the file's shape, its checks, its JSON Schema.
Does not belong here: opening files, looking at hardware, facts that only a machine knows.
May import: `corral.engine_kinds`, `corral.hours`, `corral.presets`, `corral.units`, `corral.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cluster.document import ClusterFileError
from corral.cluster.values import Cluster

if TYPE_CHECKING:
    from corral.cluster.gpu_facts import FindGpu

__all__ = ["Cluster", "ClusterFileError", "load"]


def load(text: str, *, filename: str, find_gpu: FindGpu | None = None) -> Cluster:
    """Read the text of a cluster file; `filename` is only shown in problems.

    `find_gpu` is the catalogue (`corral.hardware.catalogue.find_gpu`): with it, GPU models are checked and a GPU gets
    the catalogue's name and memory; without it, models stay as they are written.

    Raises: ClusterFileError with every problem of the file.
    """
    from corral.cluster.reading import load_text  # here: who needs only the values does not pay for pydantic and YAML

    return load_text(text, filename=filename, find_gpu=find_gpu)
