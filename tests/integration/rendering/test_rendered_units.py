"""systemd units and K3s' configuration files, read by systemd's own tools and by a YAML parser."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corral.cluster.values import Cluster
from corral.data_dir import LONGEST_DATA_DIR as LONGEST_THAT_THE_SERVER_TAKES
from corral.linting.runner import lint
from corral.linting.values import Gap, Source
from corral.rendering.k3s import render_configurations
from corral.rendering.nixos.modules import render_modules
from corral.rendering.systemd import LONGEST_DATA_DIR, STOP_S, escape_word, format_unit, quote_field, render_units
from corral.server.runtime import GRACE_S, WRITE_OUT_S
from doubles.clusters import forty_mixed_nodes, open_cluster
from doubles.k3s_clusters import MIXED, cluster_of, installations_of

ROOT = Path(__file__).parents[3]
EXAMPLES = ("hydra/before.yaml", "hydra/cluster.yaml", "harvis/cluster.yaml", "edge.yaml")
CLUSTERS = (*EXAMPLES, "mixed", "forty")
UNITS_OF_SYSTEMD = Path("/usr/lib/systemd/system")
ONE_MACHINE = "apiVersion: corral/v1\nname: home\nnodes: [{name: home}]\n"
HTTP_GRACE_S = 3
"""What the server gives its requests when it stops; see corral.server.runtime."""


@cache
def cluster_named(name: str) -> Cluster:
    if name in EXAMPLES:
        return open_cluster(ROOT / "examples" / name).cluster
    if name == "mixed":
        return cluster_of()
    forty = forty_mixed_nodes().replace("gpus: [", "os: ubuntu, k3sRole: agent, gpus: [").replace("}]}", "}]}")
    return cluster_of(forty.replace("{model: RTX 4090}", "{model: RTX 4090, powerLimit: 300}"))


def rendered(cluster: Cluster) -> dict[str, str]:
    installations = installations_of(cluster)
    return {**render_configurations(installations), **render_units(installations)}


def settings_of(text: str) -> dict[str, list[str]]:
    """The settings of a unit, each with all its values."""
    settings: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine that has the programs and targets which units name."""
    shutil.copytree(UNITS_OF_SYSTEMD, tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    for program in ("opt/corral/bin/corral", "usr/bin/nvidia-smi", "usr/bin/nvidia-modprobe"):
        put_program(tmp_path, program)
    return tmp_path


def put_program(root: Path, path: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("#!/bin/sh\n")
    (root / path).chmod(0o755)


def complaints(root: Path, name: str, text: str) -> str:
    """What `systemd-analyze verify` says of a unit; it says nothing of one that it understands whole."""
    (root / "etc/systemd/system" / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", f"--root={root}", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("name", CLUSTERS)
def test_systemd_understands_every_unit(name: str, machine: Path) -> None:
    for path, text in rendered(cluster_named(name)).items():
        if path.endswith(".service"):
            assert complaints(machine, Path(path).name, text) == "", path


def test_the_check_sees_mistakes(machine: Path) -> None:
    text = render_units(installations_of(cluster_of(ONE_MACHINE)))["systemd/corral.service"]
    assert "Unknown key" in complaints(machine, "corral.service", text.replace("KillMode", "KillMod"))
    assert "not executable" in complaints(machine, "corral.service", text.replace("bin/corral", "bin/nothing"))


def test_systemd_makes_the_servers_user(tmp_path: Path) -> None:
    text = render_units(installations_of(cluster_of(ONE_MACHINE)))["systemd/corral.sysusers.conf"]
    folder = tmp_path / "etc/sysusers.d"
    folder.mkdir(parents=True)
    (folder / "corral.conf").write_text(text)
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", "corral.conf"], check=True, timeout=60)
    line = next(line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("corral:"))
    assert line.split(":")[5] == "/var/lib/corral"


def test_the_server_has_time_to_stop_in_order() -> None:
    text = render_units(installations_of(cluster_of(ONE_MACHINE)))["systemd/corral.service"]
    assert settings_of(text)["TimeoutStopSec"] == [f"{STOP_S}s"]
    assert STOP_S >= 2 * (GRACE_S + WRITE_OUT_S + HTTP_GRACE_S)
    assert settings_of(text)["KillMode"] == ["mixed"]


def test_the_server_may_write_its_data_directory_alone_and_still_sees_the_gpus() -> None:
    unit = settings_of(render_units(installations_of(cluster_of(ONE_MACHINE)))["systemd/corral.service"])
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["StateDirectory"] == ["corral"]
    assert unit["UMask"] == ["0077"]
    assert unit["User"] == ["corral"]
    assert not {"PrivateDevices", "ProtectClock", "DeviceAllow", "MemoryDenyWriteExecute"} & set(unit)


def test_secrets_come_from_a_file_that_root_alone_reads() -> None:
    cluster = ONE_MACHINE + "database: {urlFrom: CORRAL_PG}\n"
    text = render_units(installations_of(cluster_of(cluster)))["systemd/corral.service"]
    assert settings_of(text)["EnvironmentFile"] == ["-/etc/corral/environment"]
    assert "Environment" not in settings_of(text)
    assert "CORRAL_PG=postgresql://..." in text


@pytest.mark.parametrize(
    ("data_dir", "used"),
    [
        ("/var/lib/corral/home", "/var/lib/corral/home"),
        ("/srv/corral", "/srv/corral"),
        ("/srv/" + "x" * 76, "/var/lib/corral"),
        ("/srv/with space", "/var/lib/corral"),
        ("/srv/%n", "/var/lib/corral"),
        ("/home/me/corral", "/var/lib/corral"),
        ("./data", "/var/lib/corral"),
    ],
)
def test_the_data_directory_is_that_of_the_file_where_a_service_can_use_it(
    data_dir: str, used: str, machine: Path
) -> None:
    files = render_units(installations_of(cluster_of(f"{ONE_MACHINE}dataDir: {data_dir!r}\n")))
    text = files["systemd/corral.service"]
    unit = settings_of(text)
    assert unit["ExecStart"][0].endswith(f"--data-dir {used}")
    assert unit.get("ReadWritePaths", []) == ([used] if used.startswith("/srv") else [])
    assert complaints(machine, "corral.service", text) == ""
    assert (used in text.partition("[Unit]")[0]) is (used != data_dir)


def test_folders_for_outputs_can_be_written_and_one_that_is_not_there_keeps_nothing_from_starting(
    machine: Path,
) -> None:
    folders = "outputFolders: [{path: /mnt/nas}, {path: /srv/with space}, {path: /srv/out}]\n"
    text = render_units(installations_of(cluster_of(ONE_MACHINE + folders)))["systemd/corral.service"]
    assert settings_of(text)["ReadWritePaths"] == ["-/mnt/nas -/srv/out"]
    assert complaints(machine, "corral.service", text) == ""


def test_the_longest_data_directory_is_that_of_the_server() -> None:
    assert LONGEST_DATA_DIR == LONGEST_THAT_THE_SERVER_TAKES


def test_no_unit_of_the_server_is_written_where_kubernetes_runs_it() -> None:
    text = MIXED.replace(
        "services:\n", "services:\n  - {name: corral, kind: corral, image: 'example.org/corral:1'}\n", 1
    )
    assert "systemd/corral.service" not in rendered(cluster_of(text))
    assert "systemd/corral.service" in rendered(cluster_of())


def test_power_limits_are_set_after_the_driver_is_kept_loaded_card_by_card() -> None:
    files = rendered(cluster_of())
    assert [path for path in files if "power" in path] == ["systemd/ubuntu-one/gpu-power-limit.service"]
    unit = settings_of(files["systemd/ubuntu-one/gpu-power-limit.service"])
    assert unit["After"] == unit["Wants"] == unit["PartOf"] == ["nvidia-persistenced.service"]
    assert unit["ExecStart"] == ["-/usr/bin/nvidia-smi -i 0 -pl 300", "-/usr/bin/nvidia-smi -i 1 -pl 350"]


def test_power_limits_by_the_hour_are_set_by_a_script_that_a_timer_starts(machine: Path) -> None:
    gpu = '{index: 0, powerLimit: 300, powerHours: [{watts: 200, hours: {daily: "22:00-07:00"}}]}'
    nodes = f"nodes: [{{name: home, os: ubuntu, gpus: [{gpu}]}}, {{name: nix, os: nixos, gpus: [{gpu}]}}]"
    cluster = cluster_of(ONE_MACHINE.replace("nodes: [{name: home}]", nodes))
    files = rendered(cluster)
    unit, timer, script = (files[f"systemd/home/gpu-power-limit{end}"] for end in (".service", ".timer", ""))
    put_program(machine, "usr/local/sbin/gpu-power-limit")

    assert complaints(machine, "gpu-power-limit.service", unit) == ""
    assert complaints(machine, "gpu-power-limit.timer", timer) == ""
    assert "RemainAfterExit" not in settings_of(unit)
    assert len(settings_of(timer)["OnCalendar"]) == 2
    assert script.startswith("#!/bin/sh\n")
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False, timeout=30).returncode == 0
    nix = render_modules(installations_of(cluster))["nixos/nix.nix"]
    assert "startAt" in nix
    assert "then limit=200" in nix


def test_k3s_gets_a_configuration_file_on_systems_that_are_not_nixos() -> None:
    files = render_configurations(installations_of(cluster_of()))
    assert list(files) == ["k3s/ubuntu-one/config.yaml"]
    assert yaml.safe_load(files["k3s/ubuntu-one/config.yaml"]) == {
        "node-name": "ubuntu-one",
        "token-file": "/run/secrets/k3s-token",
        "server": "https://k3s.example.org:6443",
        "node-label": [
            "example.org/gpu-classes=4090-3090ti",
            "example.org/gpu-count=2",
            "example.org/has-3090ti=true",
            "example.org/has-4090=true",
            "example.org/homogeneous=false",
            "example.org/vram-total=48",
            "nvidia.com/gpu.present=true",
            "workload.example.org/inference=true",
        ],
        "kubelet-arg": ["max-pods=150"],
    }


def test_directories_of_volumes_are_among_the_steps_of_k3s() -> None:
    volume = "storage:\n  - {name: more, kind: local, node: ubuntu-one, path: /srv/my models}\n"
    file = render_configurations(installations_of(cluster_of(MIXED.replace("storage:\n", volume))))[
        "k3s/ubuntu-one/config.yaml"
    ]
    assert "sudo mkdir -p '/srv/my models'" in file


def test_each_label_key_stands_once_in_k3s_configuration() -> None:
    for path, text in render_configurations(installations_of(cluster_named("forty"))).items():
        keys = [label.partition("=")[0] for label in yaml.safe_load(text).get("node-label", [])]
        assert len(keys) == len(set(keys)), path


def test_a_node_that_joins_a_server_which_the_file_does_not_name_is_told() -> None:
    text = MIXED.replace("  server: https://k3s.example.org:6443\n", "")
    file = render_configurations(installations_of(cluster_of(text)))["k3s/ubuntu-one/config.yaml"]
    assert "server" not in yaml.safe_load(file)
    assert "K3s does not start without" in file


def test_more_pods_than_a_node_has_addresses_for_are_told() -> None:
    file = render_configurations(installations_of(cluster_of(MIXED.replace("maxPods: 150", "maxPods: 300"))))
    assert "A node has addresses for 254 pods" in file["k3s/ubuntu-one/config.yaml"]
    assert "254" not in render_configurations(installations_of(cluster_of()))["k3s/ubuntu-one/config.yaml"]


def test_a_system_is_known_however_it_is_spelled() -> None:
    cluster = cluster_of(MIXED.replace("os: ubuntu", "os: NixOS"))
    assert render_configurations(installations_of(cluster)) == {}
    assert not [path for path in rendered(cluster) if "power-limit" in path]


@pytest.mark.parametrize("name", CLUSTERS)
def test_our_linter_finds_nothing(name: str) -> None:
    cluster = cluster_named(name)
    report = lint([Source(name=path, text=text) for path, text in rendered(cluster).items()], cluster=cluster)
    assert [f"{finding.place} {finding.rule.id} {finding.what}" for finding in report.findings] == []
    assert [part for part in report.unread if part.gap is not Gap.UNJUDGED] == []


def read_word(text: str) -> str:
    """A word of a command line as systemd reads it (systemd.syntax, systemd.unit on specifiers): checked below."""
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())
    return raw.decode().replace("%%", "%").replace("$$", "$")


@settings(max_examples=200)
@given(text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
@example(text="a b\nExecStart=/bin/evil")
@example(text="%n $HOME ; \"' \\ é")
def test_a_text_is_one_word_of_one_line(text: str) -> None:
    written = escape_word(text)
    assert re.fullmatch(r"(?:[A-Za-z0-9_@+=:,./-]|%%|\$\$|\\x[0-9a-f]{2})*", written)
    if "%" not in text and "$" not in text:
        assert read_word(written) == text


def test_systemd_reads_words_as_they_were(machine: Path) -> None:
    for name in ("with space", "per%cent", "é", "two  spaces%n", "[x]{y}(z);&|#"):
        put_program(machine, f"opt/{name}")
        text = format_unit((("Service", (("Type", "oneshot"), ("ExecStart", escape_word(f"/opt/{name}")))),))
        assert complaints(machine, "words.service", text) == "", name


def test_tmpfiles_makes_the_directory_that_was_meant(tmp_path: Path) -> None:
    names = ("with space", "per%cent %n", 'quo"te', "back\\slash", "é", "'", "#hash", "$HOME")
    folder = tmp_path / "etc/tmpfiles.d"
    folder.mkdir(parents=True)
    lines = [f"d {quote_field(f'/made/{name}')} 0755 - - -\n" for name in names]
    (folder / "made.conf").write_text("".join(lines))
    subprocess.run(["systemd-tmpfiles", f"--root={tmp_path}", "--create", "made.conf"], check=True, timeout=60)
    assert {path.name for path in (tmp_path / "made").iterdir()} == set(names)


def test_every_file_is_the_same_each_time() -> None:
    first: Mapping[str, Any] = rendered(cluster_named("forty"))
    assert rendered(cluster_named("forty")) == first
