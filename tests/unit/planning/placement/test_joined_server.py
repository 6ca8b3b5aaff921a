"""Agents that join a server which no node of the file can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.operations.cluster_file import read_cluster
from corral.planning.placement.planner import plan_layout
from corral.rendering.nixos.modules import render_modules
from corral.rendering.nodes import find_unknown_server
from doubles.k3s_clusters import installations_of

HYDRA = Path(__file__).parents[4] / "examples" / "hydra" / "cluster.yaml"
FILE = """\
apiVersion: corral/v1
name: test
kubernetes: {distribution: k3s, server: "https://SERVER:6443"}
nodes:
  - {name: front, os: nixos, address: 10.0.0.1, gpus: []ROLE}
  - {name: back, os: nixos, k3sRole: agent, gpus: []}
"""


@pytest.mark.parametrize(
    ("server", "role", "is_known"),
    [
        ("10.0.0.1", ", k3sRole: server", True),
        ("front", ", k3sRole: server", True),
        ("k3s.example.org", ", k3sRole: server", True),
        ("10.0.0.9", ", k3sRole: server", False),
        ("k3s.example.org", "", False),
    ],
    ids=("its address", "its name", "a name that can lead to it", "another address", "a name of nothing here"),
)
def test_a_server_is_known_by_the_address_or_name_of_a_node(server: str, role: str, is_known: bool) -> None:
    text = FILE.replace("SERVER", server).replace("ROLE", role)

    unknown = find_unknown_server(read_cluster(text, name="test.yaml").cluster)

    assert unknown == (None if is_known else f"https://{server}:6443")


def test_where_nothing_joins_nothing_is_looked_for() -> None:
    text = FILE.replace("SERVER", "10.0.0.9").replace("ROLE", "").replace("k3sRole: agent", "k3sRole: server")

    assert find_unknown_server(read_cluster(text, name="test.yaml").cluster) is None


def test_hydra_s_plan_and_modules_report_that_its_agent_joins_an_address_of_no_node() -> None:
    text = HYDRA.read_text().replace("    address: 192.168.1.250", "    address: 192.168.1.10")
    cluster = read_cluster(text, name="cluster.yaml").cluster

    cautions = plan_layout(cluster, cluster.layouts["pool"], {}).cautions

    caution = next(caution for caution in cautions if caution.where == "kubernetes.server")
    assert caution.what == "hydra-compute joins https://192.168.1.250:6443, and no node of the file has that address"
    module = render_modules(installations_of(cluster))["nixos/hydra-compute.nix"]
    assert "No node of the file has the address of https://192.168.1.250:6443" in module
