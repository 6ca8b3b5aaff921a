"""Compose files: which machine and card, which address, which volume; and that no text of the cluster file is more."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import yaml

from corral.operations.cluster_file import read_cluster
from corral.operations.placing import find_places
from corral.rendering.targets import render_cluster
from doubles.clusters import forty_mixed_nodes

HEAD = "apiVersion: corral/v1\nname: Two.Machines\n"
NODES = """\
nodes:
  - {name: big, address: 10.0.0.1, gpus: [{model: RTX 4090, uuid: GPU-aaaa}, {model: RTX 4090, uuid: GPU-bbbb}]}
  - {name: small, gpus: [{model: RTX 3060 12GB, index: 0}]}
"""


def files_of(body: str, nodes: str = NODES) -> dict[str, str]:
    text = HEAD + nodes + body
    return render_cluster(
        read_cluster(text, name="c.yaml").cluster, source="c.yaml", text=text, only=["compose"], find_places=find_places
    ).files


def services_of(body: str, node: str = "big", layout: str = "all", nodes: str = NODES) -> dict[str, Any]:
    return yaml.safe_load(files_of(body, nodes)[f"compose/{layout}/{node}.yaml"])["services"]


def cards_of(service: dict[str, Any]) -> list[str]:
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert "count" not in device
    return device["device_ids"]


def test_each_replica_has_a_card_and_a_port_of_its_own() -> None:
    body = "services: [{name: comfyui, engines: [comfyui], image: 'c:1', node: big, replicas: 2, gpus: 1}]\n"
    containers = services_of(body)
    assert [cards_of(containers[name]) for name in ("comfyui-0", "comfyui-1")] == [["GPU-aaaa"], ["GPU-bbbb"]]
    assert [containers[name]["ports"] for name in containers] == [["127.0.0.1:8188:8188"], ["127.0.0.1:8189:8188"]]


def test_a_layout_says_which_cards() -> None:
    body = """\
services: [{name: ollama, engines: [ollama], gpus: 1}]
layouts: {edge: {services: {ollama: {node: big, gpus: [1]}}}}
"""
    assert cards_of(services_of(body, layout="edge")["ollama"]) == ["GPU-bbbb"]


def test_a_service_whose_machine_is_open_gets_a_card_that_is_large_enough_and_says_so() -> None:
    nodes = "nodes:\n  - {name: small, gpus: [{model: RTX 3060 12GB}]}\n  - {name: big, gpus: [{model: RTX 4090}]}\n"
    body = "services: [{name: ollama, engines: [ollama], gpus: 1, gpuMemory: 20Gi}]\n"
    files = files_of(body, nodes)
    assert list(files) == ["compose/all/big.yaml"]
    assert "# ollama is here because the file leaves its machine open" in files["compose/all/big.yaml"]


def test_what_finds_no_free_card_is_left_out_with_the_reason() -> None:
    body = "services: [{name: comfyui, engines: [comfyui], image: 'c:1', node: big, replicas: 3, gpus: 1}]\n"
    text = files_of(body)["compose/all/big.yaml"]
    assert "# Left out: comfyui-2: big/gpu0: held by comfyui #1; big/gpu1: held by comfyui #2" in text
    assert "comfyui-2" not in yaml.safe_load(text)["services"]


def test_a_service_on_demand_waits_in_a_profile_and_may_have_a_card_that_others_use() -> None:
    body = """\
services:
  - {name: comfyui, engines: [comfyui], image: "c:1", node: small, gpus: 1}
  - {name: voice, image: "v:1", node: small, gpus: 1}
layouts: {pool: {services: {comfyui: {node: small, gpus: [0]}}}}
"""
    containers = services_of(body, "small", "pool")
    assert "profiles" not in containers["comfyui"]
    assert (containers["voice"]["profiles"], cards_of(containers["voice"])) == (["on-demand"], ["0"])


def test_cards_that_nobody_knows_are_asked_for() -> None:
    containers = services_of(
        "services: [{name: ollama, engines: [ollama], gpus: 1}]\n", "here", nodes="nodes: [{name: here}]\n"
    )
    assert cards_of(containers["ollama"])[0].startswith("${OLLAMA_GPU:?")


def test_several_cards_share_memory_and_do_not_try_peer_to_peer() -> None:
    body = "services: [{name: trainer, image: 't:1', engines: [trainer], node: big, gpus: 2}]\n"
    containers = services_of(body)
    assert containers["trainer"]["shm_size"] == "8gb"
    assert containers["trainer"]["environment"]["NCCL_P2P_DISABLE"] == "1"
    assert (containers["trainer"]["profiles"], containers["trainer"]["restart"]) == (["jobs"], "no")
    text = next(iter(files_of(body).values()))
    assert "docker compose --file big.yaml --profile jobs run --rm trainer" in text


@pytest.mark.parametrize(("node", "expected"), [("big", "http://ollama:11434"), ("small", "http://10.0.0.1:11434")])
def test_an_address_is_a_name_on_the_same_machine_and_that_of_the_machine_elsewhere(node: str, expected: str) -> None:
    body = f"""\
services:
  - {{name: ollama, engines: [ollama], gpus: 1, node: big}}
  - {{name: backend, image: "b:1", node: {node}, calls: [ollama], env: {{API: "http://ollama:11434/api"}}}}
"""
    environment = services_of(body, node)["backend"]["environment"]
    assert environment == {"API": f"{expected}/api", "OLLAMA_URL": expected}


def test_only_what_other_machines_call_is_open_to_them() -> None:
    body = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1, node: big}
  - {name: comfyui, engines: [comfyui], image: "c:1", gpus: 1, node: big}
  - {name: page, image: "p:1", port: 80, node: big, exposed: {kind: loadBalancer, port: 8080}}
  - {name: backend, image: "b:1", node: small, calls: [ollama]}
"""
    containers = services_of(body)
    ports = {name: containers[name]["ports"] for name in ("ollama", "comfyui", "page")}
    expected = {"ollama": ["10.0.0.1:11434:11434"], "comfyui": ["127.0.0.1:8188:8188"], "page": ["8080:80"]}
    assert ports == expected


def test_an_address_on_a_machine_without_one_is_asked_for() -> None:
    body = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1, node: small}
  - {name: backend, image: "b:1", node: big, calls: [ollama]}
"""
    assert services_of(body)["backend"]["environment"]["OLLAMA_URL"].startswith("${OLLAMA_URL:?")


def test_services_of_a_pod_share_their_network() -> None:
    body = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1}
  - {name: backend, image: "b:1", port: 8000, gpus: 1, calls: [ollama]}
layouts: {edge: {services: {ollama: {node: big, pod: merged}, backend: {node: big, pod: merged}}}}
"""
    containers = services_of(body, layout="edge")
    assert containers["backend"]["network_mode"] == "service:ollama"
    assert containers["backend"]["environment"]["OLLAMA_URL"] == "http://localhost:11434"
    assert cards_of(containers["backend"]) == cards_of(containers["ollama"])
    assert containers["ollama"]["ports"] == ["127.0.0.1:11434:11434", "127.0.0.1:8000:8000"]


def test_volumes_lie_where_the_file_says() -> None:
    body = """\
storage:
  - {name: models, kind: local, node: big, path: /srv/models}
  - {name: cache, kind: local, node: big}
  - {name: shared, kind: nfs, server: nas, path: /export/a$b}
  - {name: own, kind: nfs, node: big, path: /export}
  - {name: unknown, kind: nfs}
services:
  - {name: s, image: "s:1", node: big, storage: [models, cache, shared, own, unknown], mounts: {models: /m}}
"""
    project = yaml.safe_load(files_of(body)["compose/all/big.yaml"])
    mounts = {mount["target"]: (mount["type"], mount["source"]) for mount in project["services"]["s"]["volumes"]}
    assert mounts["/m"] == ("bind", "/srv/models")
    assert mounts["/data/cache"] == ("volume", "cache")
    assert mounts["/data/own"] == ("bind", "/export")
    options = project["volumes"]["shared"]["driver_opts"]
    assert options == {"type": "nfs", "o": "addr=nas,nfsvers=4.2,hard,noatime", "device": ":/export/a$$b"}
    assert project["volumes"]["unknown"]["driver_opts"]["o"].startswith("addr=${UNKNOWN_SERVER:?")


def test_models_are_pulled_before_the_start_and_their_names_stay_words() -> None:
    body = """\
storage: [{name: models, kind: local, node: big}]
services: [{name: ollama, engines: [ollama], gpus: 1, storage: [models], models: ["x; $(reboot)"]}]
"""
    containers = services_of(body)
    assert containers["ollama"]["depends_on"] == {"ollama-pull": {"condition": "service_completed_successfully"}}
    assert "ollama pull 'x; $$(reboot)'\n" in containers["ollama-pull"]["entrypoint"][2]


def test_a_secret_is_asked_for_and_a_dollar_of_the_file_is_one() -> None:
    body = """\
services:
  - {name: s, image: "s:1", env: {PRICE: "$5 ${HOME}"}, secrets: {TOKEN: {secret: s, key: token}}}
"""
    environment = services_of(body)["s"]["environment"]
    assert environment == {"PRICE": "$$5 $${HOME}", "TOKEN": "${TOKEN:?set it in .env}"}


def test_litellm_reads_addresses_of_its_machine() -> None:
    body = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1, node: big, replicas: 2, models: ["llama3:8b"]}
  - {name: router, kind: litellm, node: big}
"""
    files = files_of(body)
    routes = yaml.safe_load(files["compose/all/router/config.yaml"])["model_list"]
    assert [route["litellm_params"]["api_base"] for route in routes] == [
        "http://ollama-0:11434",
        "http://ollama-1:11434",
    ]
    router = yaml.safe_load(files["compose/all/big.yaml"])["services"]["router"]
    assert router["command"] == ["--config", "/etc/litellm/config.yaml", "--port", "4000"]
    assert router["environment"]["LITELLM_MASTER_KEY"] == "${LITELLM_MASTER_KEY:?set it in .env}"


def test_no_card_of_forty_machines_is_given_twice() -> None:
    text = forty_mixed_nodes().replace("layouts:\n  pool:\n    services:\n      comfyui: {}\n", "")
    files = render_cluster(
        read_cluster(text, name="c.yaml").cluster, source="c.yaml", text=text, only=["compose"], find_places=find_places
    ).files
    assert len(files) > 5
    for text in files.values():
        services = [service for service in yaml.safe_load(text)["services"].values() if "deploy" in service]
        given = Counter(card for service in services if "profiles" not in service for card in cards_of(service))
        assert all(times == 1 for times in given.values())
        ports = Counter(port.rsplit(":", 2)[-2] for service in services for port in service.get("ports", ()))
        assert all(times == 1 for times in ports.values())


def test_training_is_launched_on_every_card_with_room_for_shared_memory() -> None:
    body = """\
services:
  - name: lora
    engines: [trainer]
    image: "t:1"
    command: [train.py]
    node: big
    gpus: 2
    memory: {limit: 16Gi}
"""
    container = services_of(body)["lora"]
    assert container["entrypoint"][:5] == ["accelerate", "launch", "--multi_gpu", "--num_processes", "2"]
    assert container["deploy"]["resources"]["limits"]["memory"] == str((16 + 8) * 2**30)


def test_ollama_listens_where_it_is_published_and_keeps_one_model_where_it_shares_its_card() -> None:
    alone = "services: [{name: ollama, engines: [ollama], gpus: 1, port: 8080, node: big}]\n"
    assert services_of(alone)["ollama"]["environment"] == {"OLLAMA_HOST": "0.0.0.0:8080"}
    shared = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1}
  - {name: voice, image: "v:1", gpus: 1}
layouts: {edge: {services: {ollama: {node: big, pod: both}, voice: {node: big, pod: both}}}}
"""
    assert services_of(shared, layout="edge")["ollama"]["environment"]["OLLAMA_MAX_LOADED_MODELS"] == "1"


def test_an_image_is_given_the_variable_port_folder_and_health_check_that_it_has() -> None:
    body = """\
storage: [{name: chats, kind: local, node: big}]
services:
  - {name: ollama, engines: [ollama], gpus: 1, node: big}
  - name: chat
    image: ghcr.io/open-webui/open-webui:v0.6.30
    node: big
    calls: [ollama]
    storage: [chats]
"""
    chat = services_of(body)["chat"]
    assert chat["environment"] == {"OLLAMA_BASE_URL": "http://ollama:11434", "OLLAMA_URL": "http://ollama:11434"}
    assert chat["ports"] == ["127.0.0.1:8080:8080"]
    assert chat["volumes"][0]["target"] == "/app/backend/data"
    assert "http://127.0.0.1:8080/health" in chat["healthcheck"]["test"][1]


def test_what_the_cluster_file_says_of_an_image_wins() -> None:
    body = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1, node: big}
  - name: chat
    image: ghcr.io/open-webui/open-webui:v0.6.30
    node: small
    port: 3000
    calls: [ollama]
    env: {OLLAMA_BASE_URL: "http://elsewhere:11434"}
"""
    chat = services_of(body, "small")["chat"]
    assert chat["environment"]["OLLAMA_BASE_URL"] == "http://elsewhere:11434"
    assert chat["ports"] == ["127.0.0.1:3000:3000"]


def test_a_health_check_uses_what_the_image_has() -> None:
    body = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1, image: "ollama/ollama:0.12.5", node: big}
  - {name: vectors, image: "qdrant/qdrant:v1.15.1", node: big}
"""
    containers = services_of(body)
    assert containers["ollama"]["healthcheck"]["test"] == ["CMD", "ollama", "list"]
    assert "healthcheck" not in containers["vectors"]
