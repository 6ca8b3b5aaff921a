"""NixOS modules, evaluated by Nix: what they set, for both channels; no text of the file leaves its string."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.cluster.values import Cluster, StorageKind
from corral.linting.runner import lint
from corral.linting.values import Source
from corral.rendering.nixos.expressions import Lines, format_key, format_value, quote_text
from corral.rendering.nixos.modules import render_modules
from doubles.clusters import forty_mixed_nodes, open_cluster
from doubles.k3s_clusters import MIXED, cluster_of, installations_of
from doubles.nixos import OLD_DRIVER, OPTIONS, evaluate, nix_value, parse, unknown_options

ROOT = Path(__file__).parents[3]
EXAMPLES = ("hydra/before.yaml", "hydra/cluster.yaml", "harvis/cluster.yaml")
CLUSTERS = (*EXAMPLES, "mixed", "forty")
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)
SPITEFUL = (
    '${builtins.abort "x"}',
    "''",
    "''${x}",
    "'${x}",
    "$${x}",
    '"; evil = true; "',
    "\\",
    "\\${x}",
    "a\nb",
    "%n",
    "x' \"y",
)
PREVIOUS = "nixos/previous-channel"


def forty() -> Cluster:
    """Forty nodes that run NixOS, the first as the server."""
    text = forty_mixed_nodes().replace("gpus: [", "os: nixos, k3sRole: agent, gpus: [")
    return cluster_of(text.replace("k3sRole: agent", "k3sRole: server", 1))


@cache
def cluster_named(name: str) -> Cluster:
    if name in EXAMPLES:
        return open_cluster(ROOT / "examples" / name).cluster
    return cluster_of() if name == "mixed" else forty()


@pytest.fixture(scope="module")
def files() -> Mapping[str, str]:
    return render_modules(installations_of(cluster_of()))


@pytest.fixture(scope="module")
def modules(files: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return evaluate(files, tmp_path_factory.mktemp("nix"))


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_module_parses_evaluates_and_binds_options_that_its_channel_has(name: str, tmp_path: Path) -> None:
    rendered = render_modules(installations_of(cluster_named(name)))
    for path, module in evaluate(rendered, tmp_path).items():
        assert list(unknown_options(module, path.rpartition("/")[0])) == []
    parsed = sorted(tmp_path.glob("*.nix"))[:4]
    for file in parsed:
        parse(file)


@pytest.mark.parametrize("name", CLUSTERS)
def test_our_linter_finds_nothing(name: str) -> None:
    cluster = cluster_named(name)
    rendered = render_modules(installations_of(cluster))
    report = lint([Source(name=path, text=text) for path, text in rendered.items()], cluster=cluster)
    assert [f"{finding.place} {finding.rule.id} {finding.what}" for finding in report.findings] == []
    assert report.unread == ()


def test_only_nodes_that_run_nixos_get_modules(files: Mapping[str, str]) -> None:
    names = {Path(path).stem for path in files}
    assert names == {"head", "cruncher", "veteran", "museum", "muddle", "radeon", "unseen", "nameless", "shelf"}
    assert {path.rpartition("/")[0] for path in files} == set(OPTIONS)


def test_an_agent_joins_the_server_with_a_token_from_a_file(modules: dict[str, Any]) -> None:
    k3s = modules["nixos/cruncher.nix"]["services"]["k3s"]
    assert (k3s["enable"], k3s["role"], k3s["serverAddr"]) == (True, "agent", "https://k3s.example.org:6443")
    assert k3s["tokenFile"] == "/run/secrets/k3s-token"
    assert "token" not in k3s
    assert k3s["nodeName"] == "cruncher"
    assert k3s["extraFlags"] == ["--kubelet-arg=max-pods=150"]


def test_the_only_server_begins_nothing_and_joins_nothing(modules: dict[str, Any]) -> None:
    k3s = modules["nixos/head.nix"]["services"]["k3s"]
    assert k3s["role"] == "server"
    assert "serverAddr" not in k3s
    assert "clusterInit" not in k3s
    assert "--tls-san=k3s.example.org" in k3s["extraFlags"]


def test_the_first_of_three_servers_begins_the_cluster_and_the_others_join_it(tmp_path: Path) -> None:
    text = MIXED.replace("name: veteran, os: nixos, k3sRole: agent", "name: veteran, os: nixos, k3sRole: server")
    text = text.replace("name: museum, os: nixos, k3sRole: agent", "name: museum, os: nixos, k3sRole: server")
    modules = evaluate(render_modules(installations_of(cluster_of(text))), tmp_path)
    services = [modules[f"nixos/{name}.nix"]["services"]["k3s"] for name in ("head", "veteran", "museum")]
    assert [options.get("clusterInit") for options in services] == [True, None, None]
    joined = "https://k3s.example.org:6443"
    assert [options.get("serverAddr") for options in services] == [None, joined, joined]
    assert {2379, 2380, 6443} < set(modules["nixos/head.nix"]["networking"]["firewall"]["allowedTCPPorts"])


def test_each_label_key_stands_once_and_roles_have_a_key_each(modules: dict[str, Any]) -> None:
    labels = modules["nixos/cruncher.nix"]["services"]["k3s"]["nodeLabel"]
    keys = [label.partition("=")[0] for label in labels]
    assert len(keys) == len(set(keys))
    assert {"workload.example.org/generation=true", "workload.example.org/training=true"} <= set(labels)
    assert "topology.kubernetes.io/zone=cellar" in labels


def test_a_label_that_has_to_go_comes_with_its_command(files: Mapping[str, str]) -> None:
    assert "kubectl label node cruncher example.org/has-3060-" in files["nixos/cruncher.nix"]


def test_the_previous_channel_gets_names_and_labels_as_flags_and_nothing_else_differs(modules: dict[str, Any]) -> None:
    for path, module in modules.items():
        if path.startswith(PREVIOUS):
            continue
        before = modules[path.replace("nixos/", f"{PREVIOUS}/")]
        now = module.get("services", {}).pop("k3s", None)
        then = before.get("services", {}).pop("k3s", None)
        assert module == before
        if now is not None:
            names = [f"--node-name={now['nodeName']}", *(f"--node-label={label}" for label in now.get("nodeLabel", []))]
            assert then["extraFlags"] == [*names, *now["extraFlags"]]


def test_k3s_finds_the_cdi_runtime_on_its_path_after_the_devices_are_described(modules: dict[str, Any]) -> None:
    unit = modules["nixos/cruncher.nix"]["systemd"]["services"]["k3s"]
    runtime = unit["path"][0]
    assert runtime["script"] == "nvidia-container-runtime"
    assert runtime["text"] == 'exec /nix/store/toolkit-tools/bin/nvidia-container-runtime.cdi "$@"\n'
    assert unit["after"] == unit["wants"] == ["nvidia-container-toolkit-cdi-generator.service"]


def test_a_node_without_nvidia_cards_gets_no_driver(modules: dict[str, Any]) -> None:
    for name in ("head", "radeon", "unseen", "shelf"):
        assert "nvidia" not in modules[f"nixos/{name}.nix"].get("hardware", {}), name
        assert "nixpkgs" not in modules[f"nixos/{name}.nix"], name


def test_cdi_names_are_uuids(modules: dict[str, Any]) -> None:
    toolkit = modules["nixos/cruncher.nix"]["hardware"]["nvidia-container-toolkit"]
    assert toolkit == {"enable": True, "device-name-strategy": "uuid"}


@pytest.mark.parametrize(
    ("node", "is_open", "package"),
    [
        ("cruncher", True, None),
        ("veteran", False, "legacy_580"),
        ("museum", False, "legacy_470"),
        ("muddle", True, None),
        ("nameless", True, None),
    ],
)
def test_kernel_modules_are_open_from_turing_on(
    node: str, is_open: bool, package: str | None, modules: dict[str, Any]
) -> None:
    driver = modules[f"nixos/{node}.nix"]["hardware"]["nvidia"]
    assert driver["open"] is is_open
    assert driver.get("package") == package
    assert driver["nvidiaPersistenced"] is True


def test_where_the_channel_has_no_branch_for_old_cards_yet_its_own_driver_is_taken(tmp_path: Path) -> None:
    modules = evaluate(render_modules(installations_of(cluster_of())), tmp_path, driver=OLD_DRIVER)
    assert modules["nixos/veteran.nix"]["hardware"]["nvidia"]["package"] == "stable"


def test_cards_that_no_driver_drives_together_are_told(files: Mapping[str, str]) -> None:
    assert "GTX 1080 Ti needs the closed kernel modules and RTX 5090 the open ones" in files["nixos/muddle.nix"]


def test_blackwell_asks_for_a_driver_that_knows_it(modules: dict[str, Any]) -> None:
    assertions = modules["nixos/cruncher.nix"]["assertions"]
    assert [assertion["assertion"] for assertion in assertions] == [True]
    assert "assertions" not in modules["nixos/veteran.nix"]


def test_only_nvidias_software_is_allowed_without_a_free_licence(modules: dict[str, Any]) -> None:
    allowed = modules["nixos/cruncher.nix"]["nixpkgs"]["config"]["allowUnfreePredicate"]
    assert allowed == ["nvidia-x11", "nvidia-persistenced", "nvidia-kernel-modules"]


def test_power_limits_are_set_after_the_driver_is_kept_loaded_and_again_with_it(modules: dict[str, Any]) -> None:
    unit = modules["nixos/cruncher.nix"]["systemd"]["services"]["gpu-power-limit"]
    assert unit["after"] == unit["partOf"] == unit["wants"] == ["nvidia-persistenced.service"]
    assert "nvidia-persistenced.service" in unit["wantedBy"]
    assert unit["path"] == ["/nix/store/nvidia-580.1-bin"]


def test_a_limit_names_its_card_by_uuid_else_by_index_and_cards_without_one_are_left_alone(
    modules: dict[str, Any],
) -> None:
    script = modules["nixos/cruncher.nix"]["systemd"]["services"]["gpu-power-limit"]["script"]
    assert [line for line in script.splitlines() if "nvidia-smi" in line] == [
        "nvidia-smi -i GPU-11111111-2222-3333-4444-555555555555 -pl 450 || failed=1",
        "nvidia-smi -i 2 -pl 400 || failed=1",
    ]
    assert "gpu-power-limit" not in modules["nixos/veteran.nix"]["systemd"]["services"]


def test_the_firewall_opens_what_k3s_and_the_layouts_need(modules: dict[str, Any]) -> None:
    firewall = modules["nixos/cruncher.nix"]["networking"]["firewall"]
    assert firewall == {"allowedTCPPorts": [80, 443, 9000, 9001, 9100, 10250], "allowedUDPPorts": [8472]}
    assert 6443 in modules["nixos/head.nix"]["networking"]["firewall"]["allowedTCPPorts"]
    assert modules["nixos/shelf.nix"]["networking"]["firewall"] == {"allowedTCPPorts": [2049]}


def test_a_node_exports_its_own_volume_to_those_that_mount_it_and_nothing_else(modules: dict[str, Any]) -> None:
    exports = modules["nixos/shelf.nix"]["services"]["nfs"]["server"]["exports"]
    assert exports.startswith("/srv/shared 10.0.0.2(rw,")
    assert exports.count("\n") == 1
    assert "elsewhere" not in exports
    assert [path for path, module in modules.items() if "nfs" in module.get("services", {})] == [
        "nixos/previous-channel/shelf.nix",
        "nixos/shelf.nix",
    ]


def test_nodes_that_mount_nfs_can_and_the_others_need_not(modules: dict[str, Any]) -> None:
    assert modules["nixos/cruncher.nix"]["boot"]["supportedFilesystems"] == ["nfs"]
    assert "/nix/store/nfs-utils" in modules["nixos/cruncher.nix"]["systemd"]["services"]["k3s"]["path"]
    assert "boot" not in modules["nixos/head.nix"]


def test_directories_of_local_volumes_are_made_on_their_node(modules: dict[str, Any]) -> None:
    assert modules["nixos/cruncher.nix"]["systemd"]["tmpfiles"]["rules"] == ['d "/srv/scratch" 0755 root root -']
    assert modules["nixos/shelf.nix"]["systemd"]["tmpfiles"]["rules"] == ['d "/srv/shared" 0755 nobody nogroup -']


@settings(max_examples=20)
@given(texts=st.lists(TEXTS, min_size=10, max_size=60))
def test_a_text_is_the_same_text_in_nix(texts: list[str]) -> None:
    every = [*SPITEFUL, *texts]
    as_strings = nix_value("[" + " ".join(quote_text(text) for text in every) + "]")
    as_lines = nix_value("[" + " ".join(format_value(Lines(f"{text}\n")) for text in every) + "]")
    as_keys = nix_value(
        "builtins.map builtins.attrNames [" + " ".join(f"{{ {format_key(text)} = 1; }}" for text in every) + "]"
    )
    assert as_strings == every
    assert as_lines == [f"{text}\n" for text in every]
    assert as_keys == [[text] for text in every]


@settings(max_examples=10)
@given(text=st.one_of(st.sampled_from(SPITEFUL), TEXTS), path=st.one_of(st.sampled_from(SPITEFUL), TEXTS))
def test_nothing_of_the_cluster_file_ends_its_string(text: str, path: str) -> None:
    """Values that the file's own checks would refuse, too: the writer does not depend on them."""
    cluster = cluster_of()
    kubernetes = cluster.kubernetes
    assert kubernetes is not None
    node = replace(cluster.nodes[1], labels={"example.org/x": text}, roles=(text,), name=text)
    changed = replace(
        cluster,
        kubernetes=replace(kubernetes, token_file=f"/{path}"),
        nodes=(cluster.nodes[0], node),
        storage={
            name: replace(storage, path=f"/{path}", node=text if storage.kind is StorageKind.LOCAL else storage.node)
            for name, storage in cluster.storage.items()
        },
    )
    expected = render_modules(installations_of(cluster))
    with TemporaryDirectory() as folder:
        modules = evaluate(render_modules(installations_of(changed)), Path(folder))
    module = modules[f"nixos/{text}.nix"]
    assert set(module) <= {"assertions", "boot", "hardware", "networking", "nixpkgs", "services", "systemd"}
    assert f"workload.example.org/{text}=true" in module["services"]["k3s"]["nodeLabel"]
    assert f"example.org/x={text}" in module["services"]["k3s"]["nodeLabel"]
    assert module["services"]["k3s"]["nodeName"] == text
    assert expected
