"""What runs on Kubernetes: updates that go through, cards that are had, addresses, volumes, secrets."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.rendering.gpus import product_name
from corral.rendering.kubernetes.contradictions import ContradictionError
from corral.rendering.names import add_suffix, dns_name
from corral.rendering.targets import render_cluster
from doubles.rendered_clusters import Json, cluster_text, notes_on, objects, pod_of, rendered

IMAGE = "registry.local/it:1.0"
MIXED = [{"name": "one", "gpus": [{"model": "RTX 5090"}, {"model": "RTX 4090"}]}]
WHOLE: Json = {"pool": {"services": {}}}


def test_an_update_of_a_gpu_service_never_needs_a_spare_card() -> None:
    services = [{"name": "voice", "gpus": 1, "image": IMAGE}, {"name": "two", "gpus": 1, "replicas": 2, "image": IMAGE}]
    deployments = objects("Deployment", services=services)
    assert deployments["voice"]["spec"]["strategy"] == {"type": "Recreate"}
    assert deployments["two"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_each_comfyui_has_an_address_and_nothing_balances_over_several() -> None:
    exposed = {"kind": "loadBalancer", "port": 8188}
    comfyui = {"name": "comfyui", "engines": ["comfyui"], "image": IMAGE, "gpus": 1, "replicas": 2, "exposed": exposed}
    addresses = objects("Service", services=[comfyui])
    assert addresses.keys() == {
        "comfyui-replicas",
        "comfyui-0",
        "comfyui-1",
        "comfyui-outside-0",
        "comfyui-outside-1",
    }
    for name in ("comfyui-0", "comfyui-outside-0"):
        assert addresses[name]["spec"]["selector"] == {"statefulset.kubernetes.io/pod-name": "comfyui-0"}
    assert addresses["comfyui-outside-1"]["spec"]["ports"][0]["port"] == 8189


def test_a_budget_stands_only_where_a_replica_can_start_elsewhere() -> None:
    free = {"name": "page", "image": IMAGE, "replicas": 2}
    assert objects("PodDisruptionBudget", services=[free]).keys() == {"page"}
    assert objects("PodDisruptionBudget", services=[free | {"node": "one"}]) == {}
    assert objects("PodDisruptionBudget", services=[free | {"gpus": 1}]) == {}
    assert objects("PodDisruptionBudget", services=[free | {"replicas": 1}]) == {}


def test_a_service_that_needs_one_of_two_models_claims_it_from_a_class_of_our_own() -> None:
    service = {"name": "voice", "gpus": 1, "gpuMemory": "30Gi", "image": IMAGE}
    claim = objects("ResourceClaimTemplate", nodes=MIXED, services=[service])["voice-gpus"]
    exactly = claim["spec"]["spec"]["devices"]["requests"][0]["exactly"]
    assert exactly["deviceClassName"] == "corral-gpu"
    assert exactly["selectors"][0]["cel"]["expression"].endswith("quantity('28569Mi')) >= 0")
    assert objects("DeviceClass", nodes=MIXED, services=[service]).keys() == {"corral-gpu"}
    pod = pod_of("Deployment", "voice", nodes=MIXED, services=[service])
    assert "runtimeClassName" not in pod
    assert "limits" not in pod["containers"][0]["resources"]


def test_a_layout_that_names_a_card_of_a_mixed_node_gets_that_model() -> None:
    services = [{"name": "voice", "gpus": 1, "image": IMAGE}]
    layouts = {"pool": {"services": {"voice": {"node": "one", "gpus": [1]}}}}
    claim = objects("ResourceClaimTemplate", nodes=MIXED, services=services, layouts=layouts)["voice-gpus"]
    assert "['NVIDIA GeForce RTX 4090']" in str(claim)


def test_containers_that_share_a_card_share_a_claim_and_ask_for_the_memory_of_both() -> None:
    services = [
        {"name": "ollama", "engines": ["ollama"], "gpus": 1, "gpuMemory": "10Gi"},
        {"name": "voice", "gpus": 1, "gpuMemory": "10Gi", "image": IMAGE},
    ]
    layouts: Json = {
        "edge": {"services": {"ollama": {"pod": "both"}, "voice": {"pod": "both"}}},
        "pool": {"services": {}},
    }
    files = rendered(services=services, layouts=layouts)
    pod = next(
        item
        for item in yaml.safe_load_all(files["kubernetes/overlays/edge/both.yaml"])
        if item["kind"] == "StatefulSet"
    )["spec"]["template"]["spec"]
    assert [item["resources"]["claims"] for item in pod["containers"]] == [[{"name": "gpus"}], [{"name": "gpus"}]]
    assert "quantity('19046Mi')" in files["kubernetes/overlays/edge/both.yaml"]
    assert "nvidia.com/gpu:" not in files["kubernetes/overlays/pool/voice.yaml"]  # one way to GPUs for all layouts


def test_a_container_without_a_card_beside_one_that_has_it_sees_none() -> None:
    services = [{"name": "voice", "gpus": 1, "image": IMAGE}, {"name": "page", "image": IMAGE}]
    layouts = {"edge": {"services": {"voice": {"pod": "both"}, "page": {"pod": "both"}}}}
    pod = pod_of("Deployment", "both", services=services, layouts=layouts)
    assert pod["runtimeClassName"] == "nvidia"
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in pod["containers"][1]["env"]
    assert "env" not in pod["containers"][0]


def test_things_that_contradict_each_other_are_refused_all_at_once() -> None:
    services = [{"name": "a", "image": IMAGE, "port": 80}, {"name": "b", "image": IMAGE, "port": 80}]
    layouts = {"edge": {"services": {"a": {"pod": "p", "node": "one"}, "b": {"pod": "p", "node": "two"}}}}
    with pytest.raises(ContradictionError) as caught:
        rendered(services=services, layouts=layouts)
    assert [problem.what for problem in caught.value.problems] == [
        "it would have to run on several nodes: one, two",
        "2 services of one pod listen on port 80",
    ]
    assert {problem.where for problem in caught.value.problems} == {"cluster.yaml layouts.edge services a, b"}


def test_corrals_server_reads_the_cluster_file_and_finds_its_database_without_a_password_in_a_url() -> None:
    services = [
        {"name": "database", "kind": "postgresql"},
        {"name": "corral", "kind": "corral", "image": IMAGE, "calls": ["database"]},
    ]
    pod = pod_of("Deployment", "corral", services=services)
    container = pod["containers"][0]
    assert container["command"][:4] == ["corral", "up", "--cluster", "/etc/corral/cluster.yaml"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/doors"
    maps = objects("ConfigMap", services=services)
    assert maps["corral-config"]["data"]["CORRAL_DATABASE_URL"] == "postgresql://corral@database:5432/corral"
    assert "name: yard" in maps["corral-files"]["data"]["cluster.yaml"]
    key = {"name": "database", "key": "POSTGRES_PASSWORD"}
    assert {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": key}} in container["env"]


def test_training_is_launched_on_every_card_and_knows_geforce() -> None:
    trainer = {
        "name": "lora",
        "engines": ["trainer"],
        "image": IMAGE,
        "gpus": 2,
        "command": ["train.py", "--steps", "9"],
    }
    pod = pod_of("Job", "lora", services=[trainer])
    container = pod["containers"][0]
    assert " ".join(container["command"]).startswith("accelerate launch --multi_gpu --num_processes 2")
    assert container["command"][-5:] == ["--mixed_precision", "bf16", "train.py", "--steps", "9"]
    assert {"name": "NCCL_P2P_DISABLE", "value": "1"} in container["env"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert pod["priorityClassName"] == "corral-batch"
    assert "lora" in objects("ServiceAccount", services=[trainer])


def test_professional_cards_keep_peer_to_peer_access() -> None:
    nodes = [{"name": "one", "gpus": [{"model": "RTX A4000"}, {"model": "RTX A4000"}]}]
    trainer = {"name": "lora", "engines": ["trainer"], "image": IMAGE, "gpus": 2}
    assert "env" not in pod_of("Job", "lora", nodes=nodes, services=[trainer])["containers"][0]


def test_a_volume_on_a_network_whose_place_is_unknown_waits_for_one_and_the_notes_say_so() -> None:
    parts = {
        "storage": [{"name": "shared", "kind": "nfs"}],
        "services": [{"name": "voice", "image": IMAGE, "storage": ["shared"]}],
    }
    claim = objects("PersistentVolumeClaim", **parts)["shared"]
    assert (claim["spec"]["storageClassName"], claim["spec"]["volumeName"]) == ("", "shared")
    assert objects("PersistentVolume", **parts) == {}
    assert any("claims wait for a PersistentVolume named shared" in note for note in notes_on(**parts))


def test_a_volume_serves_each_namespace_by_a_volume_of_its_own() -> None:
    services = [
        {"name": "a", "image": IMAGE, "storage": ["shared"], "namespace": "left"},
        {"name": "b", "image": IMAGE, "storage": ["shared"], "namespace": "right"},
    ]
    storage = [{"name": "shared", "kind": "nfs", "node": "one", "path": "/export"}]
    volumes = objects("PersistentVolume", services=services, storage=storage)
    assert {name: volume["spec"]["claimRef"]["namespace"] for name, volume in volumes.items()} == {
        "shared-left": "left",
        "shared-right": "right",
    }


def test_who_calls_from_another_namespace_is_let_in() -> None:
    services = [
        {"name": "voice", "image": IMAGE, "port": 80, "namespace": "speech"},
        {"name": "page", "image": IMAGE, "calls": ["voice"], "namespace": "web"},
    ]
    policy = objects("NetworkPolicy", services=services)["voice"]
    allowed = [peer["namespaceSelector"]["matchLabels"] for peer in policy["spec"]["ingress"][0]["from"][1:]]
    assert {"kubernetes.io/metadata.name": "web"} in allowed


def test_a_service_without_an_image_is_left_out_and_told() -> None:
    services = [{"name": "mystery"}]
    assert objects("Deployment", services=services) == {}
    assert "Not deployed, because the file names no image: mystery." in notes_on(services=services)


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", fullmatch=True))
def test_every_name_of_a_file_becomes_one_that_dns_takes(name: str) -> None:
    for made in (dns_name(name), dns_name(name, longest=15), add_suffix(name, "replicas")):
        assert made[0].isalpha()
        assert made[-1].isalnum()
        assert all(character.isdigit() or "a" <= character <= "z" or character == "-" for character in made)
        assert len(made) <= 63
    assert dns_name(dns_name(name)) == dns_name(name)


def test_names_that_are_cut_stay_apart() -> None:
    assert dns_name("x" * 63, longest=52) != dns_name("x" * 62 + "y", longest=52)


@settings(max_examples=20)
@given(secret=st.from_regex(r"[a-z]{3,20}", fullmatch=True), key=st.from_regex(r"[A-Z]{3,20}", fullmatch=True))
def test_what_is_secret_is_only_ever_a_reference(secret: str, key: str) -> None:
    services = [{"name": "voice", "image": IMAGE, "secrets": {"TOKEN": {"secret": secret, "key": key}}}]
    container = pod_of("Deployment", "voice", services=services)["containers"][0]
    assert container["env"] == [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}]
    assert "ConfigMap" not in rendered(services=services)["kubernetes/overlays/all/voice.yaml"]


def test_texts_in_labels_are_quoted() -> None:
    nodes: list[Json] = [{"name": "one", "gpus": [], "labels": {"example.org/on": "yes", "example.org/number": "32"}}]
    patch = yaml.safe_load(rendered(nodes=nodes)["kubernetes/nodes/one.yaml"])
    assert {"example.org/on": "yes", "example.org/number": "32"}.items() <= patch["metadata"]["labels"].items()


def test_a_port_of_the_nodes_goes_to_one_service() -> None:
    exposed = {"kind": "nodePort", "port": 30080}
    services = [{"name": name, "image": IMAGE, "port": 80, "exposed": exposed} for name in ("one", "other")]
    with pytest.raises(ContradictionError) as caught:
        rendered(services=services)
    assert "2 services want port 30080 of the nodes" in str(caught.value)


@pytest.mark.parametrize("name", ["GPU-Box", "gpu_box", "gpu.-box"])
def test_a_node_that_kubernetes_would_refuse_is_refused(name: str) -> None:
    nodes: list[Json] = [{"name": name, "k3sRole": "server", "gpus": []}]
    with pytest.raises(ContradictionError) as caught:
        rendered(nodes=nodes, kubernetes={"distribution": "k3s"})
    assert f"Kubernetes does not accept '{name}' as the name of a node" in str(caught.value)


def test_a_machine_outside_of_kubernetes_is_called_as_it_likes() -> None:
    nodes: list[Json] = [{"name": "one", "k3sRole": "server", "gpus": []}, {"name": "Big_NAS", "gpus": []}]
    assert rendered(nodes=nodes, kubernetes={"distribution": "k3s"})
    alone = [{"name": "GPU_Box", "gpus": [{"model": "RTX 4090"}]}]
    assert rendered(nodes=alone, services=[{"name": "voice", "image": IMAGE, "gpus": 1, "node": "GPU_Box"}])


@pytest.mark.parametrize(("kind", "is_told"), [("loadBalancer", True), ("ingress", False)])
def test_a_port_that_traefik_has_is_told(kind: str, is_told: bool) -> None:
    service = {"name": "page", "image": IMAGE, "port": 8000, "exposed": {"kind": kind, "port": 80}}
    notes = [note for note in notes_on(services=[service], kubernetes={"distribution": "k3s"}) if "Traefik" in note]
    assert bool(notes) is is_told


def test_neighbours_reach_what_others_deployed_and_nobody_else_does() -> None:
    policy = objects("NetworkPolicy")["own-namespace"]["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]}


@pytest.mark.parametrize(
    "service", [{"gpus": 1, "gpuMemory": "20Gi"}, {"gpus": 2, "gpuMemory": "20Gi"}, {"gpus": 2}, {"gpus": 0}]
)
def test_a_mixed_node_needs_no_claims_where_no_service_needs_one_of_its_models(service: dict[str, object]) -> None:
    pod = pod_of("Deployment", "voice", nodes=MIXED, services=[{"name": "voice", "image": IMAGE, **service}])
    assert "resourceClaims" not in pod


def test_claims_are_decided_by_the_nodes_of_this_kubernetes() -> None:
    nodes = [{"name": "in", "k3sRole": "server", "gpus": [{"model": "RTX 4090"}]}, {**MIXED[0], "name": "out"}]
    service = {"name": "voice", "gpus": 1, "image": IMAGE}
    parts = {"nodes": nodes, "services": [service], "kubernetes": {"distribution": "k3s"}}
    assert "resourceClaims" not in pod_of("Deployment", "voice", **parts)
    assert objects("ResourceQuota", **parts)["gpus"]["spec"]["hard"] == {"requests.nvidia.com/gpu": "1"}
    files = rendered(**parts)
    assert [path for path in files if path.startswith("kubernetes/nodes/")] == ["kubernetes/nodes/in.yaml"]
    with pytest.raises(ContradictionError, match="it runs on out, which has no role in K3s"):
        rendered(**parts | {"services": [service | {"node": "out"}]})


def test_where_nixos_and_claims_would_meet_pods_get_gpus_by_count_and_the_notes_say_what_that_cannot_do() -> None:
    nodes = [{"name": "one", "os": "NixOS", "gpus": [{"model": "RTX 5090"}, {"model": "RTX 4090"}]}]
    service = {"name": "voice", "node": "one", "gpus": 1, "image": IMAGE}
    pod = pod_of("Deployment", "voice", nodes=nodes, services=[service])
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    notes = notes_on(nodes=nodes, services=[service])
    assert "voice can get any GPU of one: the device plugin does not choose between them." in notes
    assert any("not tried on NixOS (one)" in note for note in notes)
    by_hand = rendered(nodes=nodes, services=[service], kubernetes={"gpuMode": "dra"})
    assert "not tried on NixOS (one)" in by_hand["kubernetes/helm/dra-driver-nvidia-gpu.yaml"]


def test_two_containers_of_a_pod_have_ports_and_probes_of_their_own_names() -> None:
    services = [{"name": name, "image": IMAGE, "port": port} for name, port in (("page", 80), ("voice", 81))]
    layouts = {"edge": {"services": {"page": {"pod": "both"}, "voice": {"pod": "both"}}}}
    containers = pod_of("Deployment", "both", services=services, layouts=layouts)["containers"]
    assert [container["ports"][0]["name"] for container in containers] == ["page", "voice"]
    assert [container["readinessProbe"]["tcpSocket"]["port"] for container in containers] == ["page", "voice"]


def test_what_a_workload_names_is_applied_before_it() -> None:
    service = {"name": "voice", "gpus": 1, "gpuMemory": "30Gi", "image": IMAGE, "storage": ["cache"]}
    storage = [{"name": "cache", "kind": "nfs", "node": "one", "path": "/cache"}]
    files = rendered(nodes=MIXED, services=[service], storage=storage)
    overlay = yaml.safe_load(files["kubernetes/overlays/all/kustomization.yaml"])
    assert overlay["sortOptions"] == {"order": "fifo"}
    assert overlay["resources"] == ["../../base", "claims.yaml", "voice.yaml"]
    kinds = [item["kind"] for item in yaml.safe_load_all(files["kubernetes/overlays/all/voice.yaml"])]
    assert kinds.index("ResourceClaimTemplate") < kinds.index("Deployment")


def test_containers_run_as_another_user_than_root_where_their_image_has_one_and_the_namespace_says_what_holds() -> None:
    storage = [{"name": "models", "kind": "local", "node": "one"}]
    ollama = {"name": "ollama", "engines": ["ollama"], "gpus": 1, "storage": ["models"], "models": ["llama3:8b"]}
    pod = pod_of("StatefulSet", "ollama", services=[ollama], storage=storage)
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1000
    for container in (*pod["initContainers"], *pod["containers"]):
        assert {"name": "HOME", "value": "/home/ubuntu"} in container["env"]
        assert container["volumeMounts"][0]["mountPath"] == "/home/ubuntu/.ollama"
    router = {"name": "router", "kind": "litellm"}
    comfyui = {"name": "comfyui", "engines": ["comfyui"], "image": IMAGE, "gpus": 1}
    for services, profile in (([ollama, router], "restricted"), ([ollama, router, comfyui], "baseline")):
        labels = objects("Namespace", services=services, storage=storage)["corral"]["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/warn"] == profile


def test_ollama_stays_root_where_it_opens_device_files_or_its_volume_is_in_the_folder_of_root() -> None:
    storage = [{"name": "models", "kind": "local", "node": "one"}]
    ollama = {"name": "ollama", "engines": ["ollama"], "gpus": 1, "storage": ["models"]}
    by_hand = ollama | {"mounts": {"models": "/root/.ollama"}}
    amd = [{"name": "one", "gpus": [{"model": "RX 7900 XTX"}]}]
    for parts in ({"services": [by_hand]}, {"services": [ollama], "nodes": amd}):
        pod = pod_of("StatefulSet", "ollama", storage=storage, **parts)
        assert "runAsUser" not in pod["securityContext"]
        assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/root/.ollama"


@pytest.mark.parametrize(
    ("model", "product"),
    [
        ("RTX 5070 Ti", "NVIDIA GeForce RTX 5070 Ti"),
        ("RTX 3060 12GB", "NVIDIA GeForce RTX 3060"),
        ("GeForce RTX 4060 Ti 16 GB", "NVIDIA GeForce RTX 4060 Ti"),
        ("GTX 1080 Ti", "NVIDIA GeForce GTX 1080 Ti"),
        ("RTX 4090 Mobile", "NVIDIA GeForce RTX 4090 Laptop GPU"),
        ("RTX 4000 Ada Generation", "NVIDIA RTX 4000 Ada Generation"),
        ("RTX A4000", "NVIDIA RTX A4000"),
        ("L4", "NVIDIA L4"),
    ],
)
def test_a_card_is_called_as_its_driver_calls_it(model: str, product: str) -> None:
    """Names as `nvidia-smi -L` prints them; a claim for another name waits for ever."""
    assert product_name(model) == product


@pytest.mark.parametrize(("kind", "is_told"), [("nfs", True), ("local", False)])
def test_a_database_on_a_network_volume_is_told(kind: str, is_told: bool) -> None:
    storage = [{"name": "data", "kind": kind, "node": "one", "path": "/srv/data"}]
    services = [{"name": "database", "kind": "postgresql", "storage": ["data"]}]
    notes = [note for note in notes_on(storage=storage, services=services) if "PostgreSQL" in note]
    assert bool(notes) is is_told


def test_a_secret_that_is_named_for_a_service_is_to_be_made_and_told_once() -> None:
    services = [
        {"name": "database", "kind": "postgresql"},
        {"name": "corral", "kind": "corral", "image": IMAGE, "calls": ["database"]},
    ]
    notes = [note for note in notes_on(services=services) if "kubectl create secret" in note]
    (only,) = notes
    assert "secret generic database --namespace corral --from-literal=POSTGRES_PASSWORD=..." in only


def test_a_card_of_another_maker_is_given_out_by_the_plugin_of_its_maker() -> None:
    nodes = [{"name": "one", "gpus": [{"model": "RX 7900 XTX"}]}, {"name": "two", "gpus": [{"model": "RTX 4090"}]}]
    services = [{"name": f"on-{node}", "image": IMAGE, "gpus": 1, "node": node} for node in ("one", "two")]
    notes = [note for note in notes_on(nodes=nodes, services=services) if "install it" in note]
    assert [note.partition(" ")[0] for note in notes] == ["amd.com/gpu"]


@pytest.mark.parametrize(("storage", "is_told"), [([], True), (["models"], False)])
def test_models_that_nothing_keeps_are_told(storage: list[str], is_told: bool) -> None:
    service = {"name": "ollama", "engines": ["ollama"], "models": ["llama3:8b"], "gpus": 1, "node": "one"}
    volumes = [{"name": "models", "kind": "local", "node": "one", "size": "50Gi"}]
    notes = [note for note in notes_on(services=[service | {"storage": storage}], storage=volumes) if "pulled" in note]
    assert bool(notes) == is_told


def test_headers_name_the_file_wherever_it_lies() -> None:
    text = cluster_text()
    cluster = load(text, filename="a/cluster.yaml", find_gpu=find_gpu)
    here, there = (
        render_cluster(cluster, source=source, text=text).files for source in ("a/cluster.yaml", "/b/cluster.yaml")
    )
    assert here == there
