"""Labels of nodes that Kubernetes keeps for itself."""

from __future__ import annotations

import pytest

from corral.cluster import ClusterFileError, load

FILE = """apiVersion: corral/v1
name: yard
nodes:
  - name: one
    gpus: []
    labels: {LABEL: "true"}
"""


@pytest.mark.parametrize(
    "key", ["node-role.kubernetes.io/gpu", "kubernetes.io/hostname", "node-restriction.kubernetes.io/a", "x.k8s.io/b"]
)
def test_a_label_that_a_kubelet_may_not_set_is_refused_with_its_place_and_a_way_around(key: str) -> None:
    with pytest.raises(ClusterFileError) as caught:
        load(FILE.replace("LABEL", key), filename="cluster.yaml")
    (problem,) = caught.value.problems
    assert key in problem.what
    assert (problem.where or "").startswith("cluster.yaml:6:14 nodes[0].labels")
    assert f"kubectl label node one {key}=true" in (problem.hint or "")


@pytest.mark.parametrize("key", ["topology.kubernetes.io/zone", "node.kubernetes.io/a", "hydra.io/gpu-class", "plain"])
def test_labels_of_open_domains_are_taken(key: str) -> None:
    assert load(FILE.replace("LABEL", key), filename="cluster.yaml").nodes[0].labels == {key: "true"}
