"""The flake of NixOS nodes, evaluated by Nix: the outputs that `nixos-rebuild` and colmena look for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.cluster.values import Cluster
from corral.rendering.nixos.flake import list_flake_notes, render_flake
from corral.rendering.nixos.modules import render_modules
from corral.rendering.targets import render_cluster
from doubles.k3s_clusters import MIXED, cluster_of, installations_of
from doubles.nixos import evaluate_flake


def flake_of(cluster: Cluster, folder: Path, *, without: str = "", release: str = "25.11") -> Any:
    """Evaluate the flake of a cluster next to the machines' own configurations, except that of one machine."""
    installations = installations_of(cluster)
    own = {f"nixos/machines/{node.name}/configuration.nix": "{ }" for node in cluster.nodes if node.name != without}
    return evaluate_flake(
        {**render_flake(installations), **render_modules(installations), **own}, folder, release=release
    )


def test_every_node_that_runs_nixos_has_a_configuration_of_its_module_and_its_own_file(tmp_path: Path) -> None:
    outputs = flake_of(cluster_of(), tmp_path)["outputs"]

    assert set(outputs) == {"nixosConfigurations", "colmenaHive"}
    systems = outputs["nixosConfigurations"]
    assert set(systems) == {
        "head", "cruncher", "veteran", "museum", "muddle", "radeon", "unseen", "nameless", "shelf",
    }  # fmt: skip
    for name, system in systems.items():
        assert system["modules"] == [f"{name}.nix", f"machines/{name}/configuration.nix"]
        assert (tmp_path / "nixos" / f"{name}.nix").exists()


def test_colmena_reaches_nodes_by_their_address_and_leaves_those_without_one_to_themselves(tmp_path: Path) -> None:
    outputs = flake_of(cluster_of(), tmp_path)["outputs"]

    nodes = outputs["colmenaHive"]["nodes"]
    assert {name: node["modules"] for name, node in nodes.items()} == {
        name: system["modules"] for name, system in outputs["nixosConfigurations"].items()
    }
    assert nodes["cruncher"]["deployment"] == {
        "targetHost": "10.0.0.2",
        "targetUser": None,
        "tags": ["generation", "training"],
    }
    assert nodes["veteran"]["deployment"] == {"targetHost": None, "allowLocalDeployment": True}


def test_the_release_of_nixpkgs_chooses_the_modules(tmp_path: Path) -> None:
    (old, new) = (
        flake_of(cluster_of(), tmp_path, release=release)["outputs"]["nixosConfigurations"]["head"]["modules"][0]
        for release in ("25.05", "26.05")
    )

    assert (old, new) == ("previous-channel/head.nix", "head.nix")
    assert (tmp_path / "nixos" / old).exists()


def test_inputs_are_nixpkgs_and_the_colmena_of_its_community_with_the_same_nixpkgs(tmp_path: Path) -> None:
    inputs = flake_of(cluster_of(), tmp_path)["inputs"]

    assert inputs["nixpkgs"]["url"].startswith("github:NixOS/nixpkgs/nixos-")
    assert inputs["colmena"] == {"url": "github:nix-community/colmena", "inputs": {"nixpkgs": {"follows": "nixpkgs"}}}


def test_a_machine_without_its_own_configuration_is_refused_with_what_to_copy(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"machines/museum/configuration.nix is missing: copy .*/etc/nixos"):
        flake_of(cluster_of(), tmp_path, without="museum")


def test_names_that_a_hive_keeps_for_itself_have_a_configuration_and_no_place_in_it(tmp_path: Path) -> None:
    cluster = cluster_of(MIXED.replace("name: museum", "name: meta"))

    outputs = flake_of(cluster, tmp_path)["outputs"]

    assert "meta" in outputs["nixosConfigurations"]
    assert "meta" not in outputs["colmenaHive"]["nodes"]
    assert "Not in the hive" in render_flake(installations_of(cluster))["nixos/flake.nix"]


def test_without_nixos_and_where_a_node_has_its_name_there_is_no_flake() -> None:
    named = cluster_of(MIXED.replace("name: museum", "name: flake"))

    assert render_flake(installations_of(cluster_of(MIXED.replace("os: nixos", "os: ubuntu")))) == {}
    rendering = render_cluster(named, source="mixed.yaml", text=MIXED, only=("nixos",))
    assert "GTX 780" in rendering.files["nixos/flake.nix"]
    assert set(list_flake_notes(installations_of(named)[0])) <= set(rendering.notes)
