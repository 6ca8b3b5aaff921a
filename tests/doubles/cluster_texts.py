"""Texts of cluster files, what they become, and their problems."""

from __future__ import annotations

import pytest

from corral.cluster import Cluster, ClusterFileError, load
from corral.errors import Problem
from corral.hardware.catalogue import find_gpu

HEAD = "apiVersion: corral/v1\nname: home\n"
NODES = HEAD + "nodes:\n  - {name: one, gpus: [{model: RTX 4090}]}\n  - {name: two, gpus: []}\n"


def read(text: str) -> Cluster:
    return load(text, filename="cluster.yaml", find_gpu=find_gpu)


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ClusterFileError) as caught:
        read(text)
    return caught.value.problems


def only_problem(text: str) -> Problem:
    errors = problems(text)
    assert len(errors) == 1, "\n".join(str(problem) for problem in errors)
    return errors[0]
