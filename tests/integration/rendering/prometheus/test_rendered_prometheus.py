"""What is rendered for Prometheus, read by promtool: its configuration, its rules, and every alert with made-up series.

Debian builds promtool without the discovery of Kubernetes (Debian's patch of Prometheus), so those blocks are taken out
before it reads the configuration, and compared with what Prometheus' documentation says of them here.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from corral.operations.cluster_file import read_cluster
from corral.rendering.installation import resolve_installations
from corral.rendering.prometheus.alerts import list_alerts
from corral.rendering.prometheus.recording import CLOCK_METRICS, COUNTERS
from corral.rendering.prometheus.targets import find_targets
from corral.rendering.targets import render_cluster
from corral.server.metrics import Metrics
from doubles.clusters import forty_mixed_nodes, open_cluster

ROOT = Path(__file__).parents[4]
EXAMPLES = {
    "hydra": "examples/hydra/cluster.yaml",
    "hydra-before": "examples/hydra/before.yaml",
    "harvis": "examples/harvis/cluster.yaml",
    "edge": "examples/edge.yaml",
}
MACHINES = """\
apiVersion: corral/v1
name: machines
nodes:
  - name: alpha
    address: 192.168.1.10
    gpus: [{model: RTX 4090, index: 0, powerLimit: 250}, {model: RTX 3090 Ti, index: 1, uuid: GPU-2, powerLimit: 200}]
  - {name: beta, address: 192.168.1.11, gpus: []}
services:
  - {name: corral, kind: corral, image: "corral:1.0", node: beta}
"""
EVERYWHERE = [*EXAMPLES, "forty", "machines"]
SCENARIOS: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("alerts.yaml").read_text())
EVERY = "15s"
EVALUATED = "1m"
"""A quarter as often as rendered: `for` is in whole minutes, and promtool takes its time."""
SLOTS_TO_CHOOSE = ["alpha.lan/gpu0", "alpha.lan/gpu1", "alpha.lan/cpu1", "alphaxlan/gpu0", "beta/gpu3", "beta2/gpu0"]
ROLES = {"node", "pod", "service", "endpoints", "endpointslice", "ingress"}
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def text_of(name: str) -> str:
    if name in EXAMPLES:
        return (ROOT / EXAMPLES[name]).read_text()
    return MACHINES if name == "machines" else forty_mixed_nodes()


@cache
def rendered(name: str, text: str | None = None) -> dict[str, str]:
    text = text or text_of(name)
    cluster = read_cluster(text, name="cluster.yaml").cluster
    return render_cluster(cluster, source="cluster.yaml", text=text, only=["prometheus"]).files


def configuration(name: str) -> dict[str, Any]:
    return yaml.safe_load(rendered(name)["prometheus/prometheus.yml"])


def jobs(name: str) -> dict[str, dict[str, Any]]:
    return {job["job_name"]: job for job in configuration(name)["scrape_configs"]}


def written(name: str, folder: Path) -> Path:
    for path, text in rendered(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder / "prometheus"


def rules(name: str) -> list[dict[str, Any]]:
    files = rendered(name)
    parsed = [yaml.safe_load(text) for path, text in files.items() if "/rules/" in path]
    return [rule for document in parsed for group in document["groups"] for rule in group["rules"]]


def rules_of_alerts(name: str) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules(name) if "alert" in rule}


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("name", EVERYWHERE)
def test_promtool_accepts_the_configuration_with_its_files(name: str, tmp_path: Path) -> None:
    folder = written(name, tmp_path)
    for path in ("secrets/corral-token", "account/token", "account/ca.crt"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()
    (folder / "targets").mkdir()
    (folder / "targets" / "corral.yml").write_text('- targets: ["192.0.2.1:7433"]\n')
    file = folder / "prometheus.yml"
    value = yaml.safe_load(file.read_text().replace(ACCOUNT, str(folder / "account")))
    for job in value["scrape_configs"]:
        job.pop("kubernetes_sd_configs", None)
    file.write_text(yaml.safe_dump(value))
    said = promtool("check", "config", file)
    assert "WARNING" not in said
    assert said.count("SUCCESS") >= 3


@pytest.mark.parametrize("name", ["hydra", "hydra-before", "harvis"])
def test_the_discovery_of_kubernetes_has_roles_and_labels_that_prometheus_knows(name: str) -> None:
    discoveries = [
        (job["job_name"], discovery, job["relabel_configs"])
        for job in configuration(name)["scrape_configs"]
        for discovery in job.get("kubernetes_sd_configs", ())
    ]
    assert {job for job, _, _ in discoveries} >= {"dcgm-exporter", "node-exporter", "kube-state-metrics", "kubelet"}
    for job, discovery, relabelling in discoveries:
        assert set(discovery) <= {"role", "namespaces"}, job
        assert discovery["role"] in ROLES
        prefix = f"__meta_kubernetes_{discovery['role']}_"
        for step in relabelling:
            assert all(label.startswith(prefix) for label in step["source_labels"]), job
        assert relabelling[-1]["target_label"] == "node", job


def test_labels_of_an_exporter_go_before_those_of_its_pod() -> None:
    configs = jobs("hydra")
    for name in ("dcgm-exporter", "node-exporter", "kube-state-metrics"):
        assert configs[name]["honor_labels"] is True, name


def test_pods_of_an_exporter_are_found_by_the_labels_of_either_chart() -> None:
    steps = jobs("hydra")["dcgm-exporter"]["relabel_configs"]
    regex = re.compile(steps[0]["regex"])
    assert regex.fullmatch("dcgm-exporter;")
    assert regex.fullmatch(";nvidia-dcgm-exporter")
    assert not regex.fullmatch("my-dcgm-exporter;web")
    assert not regex.fullmatch(";")


@pytest.mark.parametrize("name", EVERYWHERE)
def test_promtool_accepts_every_rule_without_a_complaint(name: str, tmp_path: Path) -> None:
    folder = written(name, tmp_path)
    said = promtool("check", "rules", *sorted((folder / "rules").iterdir()))
    assert "lint error" not in said
    assert said.count("SUCCESS") == 2


@pytest.mark.parametrize("alert", SCENARIOS)
def test_an_alert_fires_when_it_must_and_is_silent_when_it_must_not(alert: str, tmp_path: Path) -> None:
    cases = SCENARIOS[alert]
    for cluster in sorted({case.get("cluster", "hydra") for case in cases}):
        folder = written(cluster, tmp_path / cluster)
        rule = rules_of_alerts(cluster)[alert]
        test = {
            "rule_files": ["rules/recording.yml", "rules/alerts.yml"],
            "evaluation_interval": EVALUATED,
            "tests": [_test(rule, case) for case in cases if case.get("cluster", "hydra") == cluster],
        }
        file = folder / "test.yml"
        file.write_text(yaml.safe_dump(test))
        promtool("test", "rules", file)


def test_every_alert_has_cases_in_which_it_fires_and_in_which_it_is_silent() -> None:
    names = {name for cluster in EVERYWHERE for name in rules_of_alerts(cluster)}
    assert names == set(SCENARIOS)
    for alert, cases in SCENARIOS.items():
        assert any("alerts" in case for case in cases), alert
        assert any("alerts" not in case for case in cases), alert


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_alert_says_how_bad_it_is_how_long_it_lasts_and_what_to_do(name: str) -> None:
    for alert, rule in rules_of_alerts(name).items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, alert
        assert re.fullmatch(r"[1-9]\d*m", rule["for"]), alert
        assert rule["annotations"]["summary"][-1] != ".", alert
        assert "`" in rule["annotations"]["description"] or alert == "VolumeFills", f"{alert} has no command"


def test_every_command_in_an_alert_exists() -> None:
    known = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for alert, rule in rules_of_alerts("hydra").items():
        for command in re.findall(r"`(corral [a-z]+(?: (?:list|show|explain|logs|retry|pause|drain|rm))?)", str(rule)):
            assert f"# {command}\n" in known, f"{alert}: {command}"


@pytest.mark.parametrize("name", EVERYWHERE)
def test_rules_name_only_metrics_that_corral_has(name: str) -> None:
    exported = names_of_corral()
    for rule in rules(name):
        assert set(re.findall(r"\bcorral_\w+", rule["expr"])) <= exported, rule


@pytest.mark.parametrize("name", EVERYWHERE)
def test_rules_name_only_fields_that_the_exporter_is_asked_for(name: str) -> None:
    asked = {counter.field for counter in COUNTERS} | set(CLOCK_METRICS)
    for rule in rules(name):
        assert set(re.findall(r"\bDCGM_\w+", rule["expr"])) <= asked, rule
    assert all(counter.field.startswith("DCGM_FI_DEV_") for counter in COUNTERS)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_rules_use_only_recorded_series_that_are_recorded(name: str) -> None:
    recorded = {rule["record"] for rule in rules(name) if "record" in rule}
    for rule in rules(name):
        assert set(re.findall(r"\bcorral:[\w:]+", rule["expr"])) <= recorded, rule


def test_names_with_dots_are_meant_literally(tmp_path: Path) -> None:
    text = MACHINES.replace("alpha", "alpha.lan") + "queues: [{name: q, pool: [alpha.lan/gpu0, alpha.lan/cpu, beta]}]\n"
    recording = rendered("dots", text)["prometheus/rules/recording.yml"]
    rules = [rule for rule in yaml.safe_load(recording)["groups"][0]["rules"] if rule.get("labels") == {"queue": "q"}]
    slots = re.search(r'device=~"([^"]+)"', rules[0]["expr"])
    assert slots
    regex = re.compile(slots[1].replace("\\\\", "\\"))
    assert [slot for slot in SLOTS_TO_CHOOSE if regex.fullmatch(slot)] == [
        "alpha.lan/gpu0",
        "alpha.lan/cpu1",
        "beta/gpu3",
    ]
    (tmp_path / "recording.yml").write_text(recording)
    promtool("check", "rules", tmp_path / "recording.yml")


def test_a_card_that_may_be_another_makers_is_not_missed_and_the_header_says_so() -> None:
    text = MACHINES.replace("{model: RTX 3090 Ti, index: 1, uuid", "{memory: 24Gi, index: 2}, {index: 1, uuid")
    files = rendered("cards", text)
    assert "expr: vector(2)" in files["prometheus/rules/recording.yml"]
    assert "GPUs of alpha have neither a model nor a UUID" in files["prometheus/prometheus.yml"]


def test_a_token_is_a_file_and_never_a_value() -> None:
    for name in EVERYWHERE:
        for job in configuration(name)["scrape_configs"]:
            assert set(job.get("authorization", {})) <= {"credentials_file"}


def test_one_machine_is_scraped_on_loopback_without_a_token() -> None:
    configs = jobs("edge")
    assert configs["corral"] == {"job_name": "corral", "static_configs": [{"targets": ["127.0.0.1:7433"]}]}
    assert configs["node-exporter"]["static_configs"] == [{"targets": ["127.0.0.1:9100"], "labels": {"node": "local"}}]
    assert set(configs) == {"corral", "node-exporter"}
    assert "The GPUs of local are not in the cluster file" in rendered("edge")["prometheus/prometheus.yml"]


def test_machines_are_scraped_by_their_addresses_and_only_gpu_nodes_for_their_cards() -> None:
    configs = jobs("machines")
    assert configs["corral"]["static_configs"] == [{"targets": ["192.168.1.11:7433"]}]
    assert configs["corral"]["authorization"] == {"credentials_file": "secrets/corral-token"}
    assert [config["labels"]["node"] for config in configs["node-exporter"]["static_configs"]] == ["alpha", "beta"]
    assert [config["targets"] for config in configs["dcgm-exporter"]["static_configs"]] == [["192.168.1.10:9400"]]


def test_a_node_without_an_address_stays_out_and_the_header_says_so() -> None:
    files = rendered("one", MACHINES.replace("address: 192.168.1.10", "os: debian"))
    text = files["prometheus/prometheus.yml"]
    assert "no address of alpha" in text
    assert "dcgm-exporter" not in text


def test_cards_of_another_maker_are_not_expected_of_nvidias_exporter() -> None:
    expected = [rule for rule in rules("forty") if rule.get("record") == "corral:node_gpus:expected"]
    scraped = {config["labels"]["node"] for config in jobs("forty")["dcgm-exporter"]["static_configs"]}
    assert {rule["labels"]["node"] for rule in expected} == scraped
    assert "node-31" not in scraped
    assert "No GPU of node-31 is NVIDIA's" in rendered("forty")["prometheus/prometheus.yml"]


def test_servers_in_kubernetes_are_scraped_one_by_one() -> None:
    text = MACHINES + "kubernetes: {namespace: ai}\n"
    value = yaml.safe_load(rendered("one", text)["prometheus/prometheus.yml"])
    job = next(job for job in value["scrape_configs"] if job["job_name"] == "corral")
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": ["ai"]}}]
    assert [step.get("regex") for step in job["relabel_configs"]] == ["corral", "7433", None]


def test_kueue_is_watched_only_where_the_file_has_it() -> None:
    assert "kueue" in jobs("hydra")
    assert "kueue" not in jobs("harvis")
    assert "KueueWorkloadsPending" not in rules_of_alerts("harvis")


def test_the_limit_is_compared_only_where_the_file_has_one() -> None:
    assert "GpuPowerLimitNotAsWritten" in rules_of_alerts("hydra")
    assert "GpuPowerLimitNotAsWritten" not in rules_of_alerts("harvis")


def test_every_alert_tells_the_documentation_why() -> None:
    guide = (ROOT / "docs" / "guides" / "watch-your-cluster.md").read_text()
    opened = open_cluster(ROOT / EXAMPLES["hydra"])
    layouts = resolve_installations(opened.cluster, source="cluster.yaml", text=opened.text)
    for _, alerts in list_alerts(find_targets(layouts)):
        for alert in alerts:
            assert f"`{alert.name}`" in guide, alert.name


@pytest.mark.parametrize("name", ["hydra", "harvis"])
def test_kubernetes_accepts_what_prometheus_may_read(name: str) -> None:
    documents = list(yaml.safe_load_all(rendered(name)["prometheus/access.yaml"]))
    assert [document["kind"] for document in documents] == ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"]
    for document in documents:
        kubernetes_validate.validate(document, "1.34", strict=True)


def test_kustomize_puts_the_files_into_config_maps(tmp_path: Path) -> None:
    folder = written("harvis", tmp_path)
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    maps = {
        document["metadata"]["name"]: set(document["data"])
        for document in yaml.safe_load_all(done.stdout)
        if document["kind"] == "ConfigMap"
    }
    assert maps == {
        "corral-prometheus": {"prometheus.yml"},
        "corral-prometheus-rules": {"alerts.yml", "recording.yml"},
        "dcgm-counters": {"dcgm-counters.csv"},
    }


def test_exporters_are_sent_where_they_may_look_into_their_host() -> None:
    """The namespaces of services enforce Pod Security `baseline`, which has no volumes of the host."""
    text = text_of("hydra").replace("{name: prometheus, kind: addon}", "{name: prometheus}")
    kept = rendered("hydra", text)["prometheus/kustomization.yaml"]
    assert "name: dcgm-counters" not in kept
    assert "kubectl create configmap dcgm-counters --namespace monitoring" in kept
    apart = rendered("harvis")["prometheus/kustomization.yaml"]
    assert "name: dcgm-counters" in apart
    assert "refuses (baseline)" not in apart


def names_of_corral() -> set[str]:
    """Every series that the server exports, as its registry knows them."""
    registry: Any = vars(Metrics())["_registry"]  # the server hands out text only, which lacks metrics without a value
    return set(registry._names_to_collectors)


def _test(rule: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": case["case"],
        "interval": EVERY,
        "input_series": [{"series": series, "values": values} for series, values in case["series"].items()],
        "alert_rule_test": [
            {
                "alertname": rule["alert"],
                "eval_time": case["at"],
                "exp_alerts": [_expected(rule, alert) for alert in case.get("alerts", ())],
            }
        ],
    }


def _expected(rule: dict[str, Any], alert: dict[str, Any]) -> dict[str, Any]:
    return {
        "exp_labels": rule["labels"] | alert["labels"],
        "exp_annotations": {key: _filled(text, alert) for key, text in rule["annotations"].items()},
    }


def _filled(text: str, alert: dict[str, Any]) -> str:
    """What Prometheus makes of a template: labels, and the value as the case writes it."""
    for label, value in alert["labels"].items():
        text = text.replace(f"{{{{ $labels.{label} }}}}", value)
    return re.sub(r"\{\{ \$value[^}]*\}\}", alert.get("value", "?"), text)
