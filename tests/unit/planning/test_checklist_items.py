"""Which items an upgrade gets, and which it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.cluster.values import Cluster
from corral.operations.cluster_file import read_cluster
from corral.operations.upgrading import list_items
from corral.planning.checklist import Checklist, Item, ItemKind, Outlook, Phase, make_checklist, write_checklist
from corral.planning.checklist.probes import ConfigurationRendered, GpusDetected, LabelsOnNode, ThroughputReached
from corral.rendering.configuration import render_configuration
from corral.rendering.gpus import POWER_LIMIT_UNIT
from doubles.clusters import forty_mixed_nodes, open_cluster
from doubles.upgrades import hydra as compared

EXAMPLES = Path(__file__).parents[3] / "examples"


def read(text: str) -> Cluster:
    return read_cluster(f"apiVersion: corral/v1\nname: test\n{text}", name="test.yaml").cluster


def hydra() -> Checklist:
    before = open_cluster(EXAMPLES / "hydra" / "before.yaml").cluster
    return rendered_checklist(before, open_cluster(EXAMPLES / "hydra" / "cluster.yaml").cluster)


def item(checklist: Checklist, id: str) -> Item:
    return next(item for item in checklist.items if item.id == id)


def commands(checklist: Checklist) -> list[str]:
    return [item.task for item in checklist.items if item.kind is ItemKind.COMMANDED]


def a_node(more: str = "", *, gpus: str = "[{model: RTX 5070 Ti}]", psu: int = 1000) -> str:
    return f"nodes: [{{name: box, psu: {{watts: {psu}, otherWatts: 150}}, gpus: {gpus}{more}}}]\n"


def test_hydra_gets_the_items_of_its_document_and_what_that_forgot() -> None:
    ids = [item.id.replace("hydra-compute", "N") for item in hydra().items]

    assert [id for id in ids if id.startswith("hardware")] == [
        "hardware.N.supply",
        "hardware.N.connectors",
        "hardware.N.drain",
        "hardware.N.install.gpu1",
        "hardware.N.cards",
        "hardware.N.limit.gpu0",
        "hardware.N.limit.gpu1",
        "hardware.N.limits",
        "hardware.N.load-test",
    ]
    assert {"software.N.limits-persist", "software.N.driver", "software.N.gpu-pods", "software.N.references"} <= set(
        ids
    )
    assert {"workload.deploy.comfyui-1", "workload.busy.N", "workload.queue-gone.3060-queue"} <= set(ids)
    assert {"documentation.cluster-file", "documentation.notes.N", "documentation.report"} <= set(ids)


def test_hydra_commands_are_exact() -> None:
    assert commands(hydra())[:7] == [
        "kubectl drain hydra-compute --ignore-daemonsets --delete-emptydir-data --timeout=10m",
        "sudo nvidia-smi -i 0 -pl 250",
        "sudo nvidia-smi -i 1 -pl 250",
        "sudo nixos-rebuild switch --flake './nixos#hydra-compute'",
        "kubectl label node hydra-compute hydra.io/gpu-classes-",
        "kubectl label node hydra-compute hydra.io/has-3060-",
        "kubectl uncordon hydra-compute",
    ]


def test_a_supply_that_the_file_proves_is_not_asked_about() -> None:
    two = "[{model: RTX 5070 Ti}, {model: RTX 5070 Ti}]"
    before, after = (read(text.replace("psu: {", "psu: {standard: ATX 3.1, ")) for text in (a_node(), a_node(gpus=two)))

    supply = item(make_checklist(before, after), "hardware.box.supply")

    assert supply.kind is ItemKind.AUTOMATIC
    assert "750 W of 1000 W" in supply.task


def test_a_supply_whose_standard_nothing_states_is_asked_about() -> None:
    supply = item(hydra(), "hardware.hydra-compute.supply")

    assert supply.kind is ItemKind.BY_HAND
    assert "the supply's standard is unknown" in supply.task


def test_a_supply_that_is_too_small_is_asked_about_with_the_figures() -> None:
    before, after = read(a_node(psu=450)), read(a_node(gpus="[{model: RTX 5090}, {model: RTX 5090}]", psu=450))

    supply = item(make_checklist(before, after), "hardware.box.supply")

    assert supply.kind is ItemKind.BY_HAND
    assert "of 450 W" in supply.task


def test_equal_files_need_nothing() -> None:
    cluster = open_cluster(EXAMPLES / "hydra" / "cluster.yaml").cluster

    checklist = make_checklist(cluster, cluster)

    assert checklist.items == ()
    assert "Nothing has to be done" in write_checklist(checklist)


def test_labels_alone_open_no_machine() -> None:
    before = read("kubernetes: {distribution: k3s}\n" + a_node(", labels: {a/b: '1', a/gone: x}"))
    after = read("kubernetes: {distribution: k3s}\n" + a_node(", labels: {a/b: '2'}"))

    checklist = make_checklist(before, after)

    assert checklist.of(Phase.HARDWARE) == ()
    assert commands(checklist) == ["kubectl label node box a/b=2 --overwrite", "kubectl label node box a/gone-"]
    work = item(checklist, "software.box.labels").work
    assert isinstance(work, LabelsOnNode)
    assert {("a/b", "2"), ("corral.dev/gpu-count", "1"), ("corral.dev/vram-total", "16")} <= set(work.labels)
    assert work.gone == ("a/gone",)


def test_a_node_with_an_address_is_reached_over_ssh_with_its_command_quoted() -> None:
    node = ", address: 10.0.0.7, k3sRole: agent, os: ubuntu"
    before = read("kubernetes: {distribution: k3s}\n" + a_node(node + ", labels: {a/b: '1'}"))
    after = read(
        "kubernetes: {distribution: k3s}\n"
        + a_node(node + ", labels: {a/b: '2'}", gpus="[{model: RTX 5070 Ti, powerLimit: 260}]")
    )

    said = commands(make_checklist(before, after))

    assert "ssh -t 10.0.0.7 'sudo nvidia-smi -i 0 -pl 260'" in said
    assert "ssh -t 10.0.0.7 'sudo systemctl restart k3s-agent'" in said
    assert "ssh -t 10.0.0.7 'corral loadtest --duration 1800s'" in said
    assert not any("nixos-rebuild" in command for command in said)


def test_without_kubernetes_nothing_asks_for_kubectl() -> None:
    before, after = read(a_node()), read(a_node(gpus="[{model: RTX 5070 Ti}, {model: RTX 5070 Ti}]"))

    assert not any("kubectl" in item.task for item in make_checklist(before, after).items)


def test_a_power_limit_alone_is_set_tested_and_made_to_last() -> None:
    before, after = read(a_node()), read(a_node(gpus="[{model: RTX 5070 Ti, powerLimit: 250}]"))

    ids = [item.id for item in make_checklist(before, after).items if item.phase is not Phase.DOCUMENTATION]

    assert ids == [
        "hardware.box.limit.gpu0",
        "hardware.box.limits",
        "hardware.box.load-test",
        "software.box.persistenced",
        "software.box.limits-unit",
        "software.box.persistence",
        "software.box.limits-persist",
    ]


def test_cards_of_other_makers_are_asked_about_since_nvml_does_not_see_them() -> None:
    before, after = read(a_node()), read(a_node(gpus="[{model: RTX 5070 Ti}, {model: RX 7900 XTX}]"))

    checklist = make_checklist(before, after)

    assert item(checklist, "hardware.box.other-cards").kind is ItemKind.BY_HAND
    detected = item(checklist, "hardware.box.cards").work
    assert isinstance(detected, GpusDetected)
    assert [gpu.index for gpu in detected.gpus] == [0]


def test_cards_that_no_driver_runs_together_are_told() -> None:
    before = read(a_node(gpus="[{model: GTX 1080 Ti}]"))
    after = read(a_node(gpus="[{model: GTX 1080 Ti}, {model: RTX 5070 Ti}]"))

    conflict = item(make_checklist(before, after), "software.box.driver-conflict")

    assert "RTX 5070 Ti needs NVIDIA's open kernel modules" in conflict.why


@pytest.mark.parametrize(
    ("model", "per_hour", "gpus"),
    [("RTX 5070 Ti", 240, ("gpu0", "gpu1")), ("RTX 5070", 120, ("gpu0",))],  # 12 GB are too few for a task of 10 GiB
)
def test_the_checklist_wants_the_throughput_that_the_report_forecasts(
    model: str, per_hour: int, gpus: tuple[str, ...]
) -> None:
    done = compared(("replace", f"hydra-compute/gpu1={model}"))

    for checklist, forecast in (
        (done.upgrade.checklist, done.upgrade.findings.throughput[0].after),
        (list_items(done), done.upgrade.findings.throughput[0].alone),
    ):
        work = item(checklist, "workload.throughput.images").work
        assert isinstance(work, ThroughputReached)
        assert forecast is not None
        assert (work.per_hour, work.slots) == (forecast.per_hour, forecast.slots)
    work = item(done.upgrade.checklist, "workload.throughput.images").work
    assert isinstance(work, ThroughputReached)
    assert work.per_hour.value == per_hour
    assert work.slots == tuple(f"hydra-compute/{gpu}" for gpu in gpus)


def test_a_node_that_leaves_is_emptied_first() -> None:
    before = read("kubernetes: {distribution: k3s}\nnodes: [{name: a, gpus: []}, {name: b, gpus: []}]\n")
    after = read("kubernetes: {distribution: k3s}\nnodes: [{name: a, gpus: []}]\n")

    checklist = make_checklist(before, after)

    assert [item.id for item in checklist.items][:3] == ["hardware.b.gone", "hardware.b.drain", "software.b.delete"]
    assert commands(checklist) == [
        "kubectl drain b --ignore-daemonsets --delete-emptydir-data --timeout=10m",
        "kubectl delete node b",
    ]


def test_phases_follow_each_other_when_several_nodes_leave() -> None:
    nodes = "kubernetes: {}\nnodes: [{name: a, gpus: []}, {name: b, gpus: []}, {name: c, gpus: []}]\n"
    after = read("kubernetes: {}\nnodes: [{name: a, gpus: []}]\n")

    ids = [item.id for item in make_checklist(read(nodes), after).items if item.phase is not Phase.DOCUMENTATION]

    assert [id.partition(".")[0] for id in ids] == ["hardware"] * 4 + ["software"] * 2


def test_forty_nodes_give_unique_ids_phases_in_order_and_the_same_twice() -> None:
    before = read_cluster(forty_mixed_nodes(), name="forty.yaml").cluster
    after = read_cluster(forty_mixed_nodes().replace("RTX 3090 Ti", "RTX 5090"), name="forty.yaml").cluster

    checklist = make_checklist(before, after)

    ids = [item.id for item in checklist.items]
    phases = list(Phase)
    places = [phases.index(item.phase) for item in checklist.items]
    assert len(ids) == len(set(ids)) > 80
    assert places == sorted(places)
    assert write_checklist(checklist) == write_checklist(make_checklist(before, after))


def test_from_one_installation_to_another_works_too() -> None:
    harvis = open_cluster(EXAMPLES / "harvis" / "cluster.yaml").cluster

    checklist = make_checklist(harvis, open_cluster(EXAMPLES / "hydra" / "cluster.yaml").cluster)

    assert "hardware.pop-os.gone" in [item.id for item in checklist.items]
    assert all(item.title and item.why and item.task for item in checklist.items)


def test_a_new_supply_and_new_memory_are_asked_about() -> None:
    before, after = read(a_node(", memory: 32Gi")), read(a_node(", memory: 64Gi", psu=1200))

    ids = [item.id for item in make_checklist(before, after).items]

    assert ids[:2] == ["hardware.box.psu", "hardware.box.memory"]


SERVICES = """kubernetes: {namespace: ai}
services:
  - {name: web, replicas: COUNT, image: "example.org/web:1"}
  - {name: art, engines: [comfyui], replicas: COUNT, image: "example.org/art:1"}
  - {name: bare, replicas: COUNT}
layouts: {one: {kind: edge, services: {web: {name: web-on-one}}}}
"""


def rendered_checklist(before: Cluster, after: Cluster) -> Checklist:
    old, new = (render_configuration(side, source="test.yaml", text="") for side in (before, after))
    return make_checklist(before, after, Outlook(before=old, after=new))


def test_replicas_are_those_of_the_objects_that_are_rendered() -> None:
    before, after = (read(a_node() + SERVICES.replace("COUNT", count)) for count in ("1", "3"))

    checklist = rendered_checklist(before, after)

    assert commands(checklist) == [
        "kubectl -n ai scale deployment/web-on-one --replicas=3",
        "kubectl -n ai scale statefulset/art --replicas=3",
    ]
    assert item(checklist, "workload.replicas.art").task == "StatefulSet art has 3 of 3 replicas ready"
    assert item(checklist, "workload.replicas.bare").kind is ItemKind.BY_HAND, "without an image nothing is rendered"


def test_each_layout_has_replicas_of_its_own() -> None:
    text = """kubernetes: {namespace: ai}
services: [{name: art, engines: [comfyui], image: a}]
layouts:
  one: {kind: pool, services: {art: {replicas: 2}}}
  two: {kind: pool, services: {art: {replicas: COUNT}}}
"""
    before, after = (read(a_node() + text.replace("COUNT", count)) for count in ("1", "2"))

    assert commands(rendered_checklist(before, after)) == ["kubectl -n ai scale statefulset/art --replicas=2"]
    assert commands(rendered_checklist(after, after)) == []


def test_who_gets_fewer_replicas_makes_room_first() -> None:
    text = """kubernetes: {namespace: ai}
services:
  - {name: art, engines: [comfyui], image: a, gpus: 1}
  - {name: voice, image: b, gpus: 1}
"""
    more = "layouts: {pool: {services: {art: {replicas: 2}}}}\n"
    before = read(a_node() + text + "layouts: {pool: {services: {art: {}, voice: {}}}}\n")

    assert commands(rendered_checklist(before, read(a_node() + text + more))) == [
        "kubectl -n ai scale deployment/voice --replicas=0",
        "kubectl -n ai scale statefulset/art --replicas=2",
    ]


def test_where_gpus_are_claimed_the_node_is_asked_for_what_can_be_claimed() -> None:
    text = "kubernetes: {gpuMode: dra}\n"
    before, after = read(a_node(gpus="[{model: RTX 4090}]") + text), read(a_node() + text)
    ready = next(entry for entry in rendered_checklist(before, after).items if entry.id.endswith(".ready"))

    assert "in its ResourceSlices" in ready.task


def test_labels_are_those_that_are_rendered() -> None:
    labels = item(compared().upgrade.checklist, "software.hydra-compute.labels").work

    assert isinstance(labels, LabelsOnNode)
    assert ("workload.hydra.io/training", "true") in labels.labels
    assert labels.gone == ("hydra.io/gpu-classes", "hydra.io/has-3060")


def test_the_unit_of_power_limits_has_the_name_of_the_rendered_one() -> None:
    before, after = read(a_node()), read(a_node(gpus="[{model: RTX 5070 Ti, powerLimit: 250}]"))

    unit = item(make_checklist(before, after), "software.box.limits-unit").material

    assert (unit or "").startswith(f"# /etc/systemd/system/{POWER_LIMIT_UNIT}.service")


def test_a_nixos_node_gets_the_rendered_flake_with_the_difference_of_its_module() -> None:
    checklist = hydra()

    ids = [item.id for item in checklist.of(Phase.SOFTWARE)]
    rendered, rebuild = (item(checklist, f"software.hydra-compute.{what}") for what in ("rendered", "rebuild"))
    assert ids.index(rendered.id) == ids.index(rebuild.id) - 1
    assert {"software.hydra-compute.limits-unit", "software.hydra-compute.labels-configured"}.isdisjoint(ids)
    assert isinstance(rendered.work, ConfigurationRendered)
    assert rendered.work.path == "nixos/hydra-compute.nix"
    assert '"hydra.io/vram-total=32"' in rendered.work.text
    lines = (rebuild.material or "").splitlines()
    assert '-      "hydra.io/has-3060=true"' in lines
    assert '+      "hydra.io/homogeneous=true"' in lines
    assert any(line.startswith("+") and "nvidia-smi -i 1 -pl 250" in line for line in lines)


def test_a_nixos_node_with_an_address_is_deployed_from_here_by_colmena() -> None:
    node = ", os: NixOS, address: 10.0.0.7"
    before, after = read(a_node(node)), read(a_node(node, gpus="[{model: RTX 5070 Ti, powerLimit: 250}]"))

    assert "colmena apply --config nixos/flake.nix --on box" in commands(make_checklist(before, after))


def test_what_cannot_be_rendered_is_asked_about_and_not_scaled() -> None:
    services = """kubernetes: {}
services: [{name: a, image: x, port: 80, replicas: COUNT}, {name: b, image: x, port: 80, replicas: COUNT}]
layouts: {one: {kind: edge, services: {a: {pod: p}, b: {pod: p}}}}
"""
    before, after = (read(a_node() + services.replace("COUNT", count)) for count in ("1", "2"))

    checklist = rendered_checklist(before, after)

    assert "listen on port 80" in (render_configuration(after, source="", text="").refused or "")
    assert commands(checklist) == []
    assert item(checklist, "workload.replicas.a").kind is ItemKind.BY_HAND
