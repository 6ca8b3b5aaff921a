"""Addresses that others get lead to the doors of Corral's own server; policies admit what they need and no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import yaml

from doubles.rendered_clusters import Json, notes_on, objects, rendered

POD_NETWORK = "10.42.0.0/16"
GATEWAY: Json = {
    "ollama": {"port": 11434, "owner": "house", "allow": [POD_NETWORK]},
    "comfyui": {"port": 8188, "owner": "house", "allow": [POD_NETWORK, "192.168.1.0/24"]},
    "frontend": {"port": 8080, "apiFrom": "BACKEND_URL"},
}
OLLAMA: Json = {"name": "ollama", "engines": ["ollama"], "gpus": 1, "models": ["llama3:8b"]}
COMFYUI: Json = {
    "name": "comfyui",
    "engines": ["comfyui"],
    "image": "comfyui:1",
    "gpus": 1,
    "replicas": 2,
    "exposed": {"kind": "loadBalancer", "name": "comfyui-lb", "port": 8188},
}
BACKEND: Json = {"name": "backend", "image": "b:1", "port": 8000, "calls": ["ollama", "comfyui"]}
ALONE: Json = {"name": "yardmaster", "kind": "corral"}
SERVER: Json = {**ALONE, "calls": ["backend"]}


def parts_of(*services: Json, **more: Any) -> dict[str, Any]:
    return {"kubernetes": {"namespace": "ai"}, "gateway": GATEWAY, "services": [*services], **more}


def settings_of(name: str, *services: Json, **more: Any) -> Json:
    return objects("ConfigMap", **parts_of(*services, **more))[f"{name}-config"]["data"]


def test_callers_of_engines_get_the_doors_of_the_server() -> None:
    assert settings_of("backend", OLLAMA, COMFYUI, BACKEND, SERVER) == {
        "OLLAMA_URL": "http://yardmaster:11434",
        "COMFYUI_URL": "http://yardmaster:8188",
        "COMFYUI_URLS": "http://yardmaster:8188",
    }


def test_direct_services_and_settings_of_the_file_stay_as_they_are() -> None:
    direct = {**OLLAMA, "direct": True}
    assert settings_of("backend", direct, COMFYUI, BACKEND, SERVER)["OLLAMA_URL"] == "http://ollama:11434"
    written = {**BACKEND, "env": {"OLLAMA_URL": "http://mine:1"}}
    assert settings_of("backend", OLLAMA, COMFYUI, written, SERVER)["OLLAMA_URL"] == "http://mine:1"
    assert settings_of("backend", OLLAMA, COMFYUI, BACKEND)["OLLAMA_URL"] == "http://ollama:11434"


def test_without_a_port_of_their_own_doors_are_on_the_main_one_and_a_note_says_that_they_ask_for_keys() -> None:
    parts = parts_of(OLLAMA, COMFYUI, BACKEND, SERVER, gateway={"ollama": {"port": 11434}})
    settings = objects("ConfigMap", **parts)["backend-config"]["data"]
    assert settings["OLLAMA_URL"] == "http://yardmaster:7433"
    assert settings["COMFYUI_URL"] == "http://yardmaster:7433/comfyui"
    assert any("gateway.ollama" in note and "key" in note for note in notes_on(**parts))


def test_the_address_outside_reaches_the_door_and_so_both_cards() -> None:
    services = objects("Service", **parts_of(OLLAMA, COMFYUI, BACKEND, SERVER))
    address = services["comfyui-lb"]["spec"]
    assert address["type"] == "LoadBalancer"
    assert address["selector"]["app.kubernetes.io/name"] == "yardmaster"
    assert address["ports"] == [{"name": "http", "port": 8188, "targetPort": 8188}]
    assert "comfyui-lb-0" not in services
    direct = objects("Service", **parts_of(OLLAMA, {**COMFYUI, "direct": True}, BACKEND, SERVER))
    assert {"comfyui-lb-0", "comfyui-lb-1"} <= direct.keys()


def test_the_server_has_every_door_that_others_can_reach_and_its_page_outside() -> None:
    exposed = {**SERVER, "exposed": {"kind": "nodePort", "port": 30080}}
    services = objects("Service", **parts_of(OLLAMA, COMFYUI, BACKEND, exposed))
    ports = {port["name"]: port["port"] for port in services["yardmaster"]["spec"]["ports"]}
    assert ports == {"http": 7433, "ollama": 11434, "comfyui": 8188, "frontend": 8080}
    assert services["yardmaster-outside"]["spec"]["ports"] == [
        {"name": "http", "port": 30080, "targetPort": 8080, "nodePort": 30080}
    ]


def test_the_backend_of_the_page_is_that_of_the_layout() -> None:
    layouts = {
        "edge": {"services": {"backend": {"name": "merged"}}},
        "workstation": {"services": {"backend": {"name": "backend-workstation"}}},
    }
    files = rendered(**parts_of(OLLAMA, COMFYUI, BACKEND, SERVER, layouts=layouts))
    for layout, address in (("edge", "http://merged:8000"), ("workstation", "http://backend-workstation:8000")):
        assert f'BACKEND_URL: "{address}"' in files[f"kubernetes/overlays/{layout}/yardmaster.yaml"]


def test_an_ingress_of_an_engine_leads_to_its_door() -> None:
    exposed = {**COMFYUI, "replicas": 1, "exposed": {"kind": "ingress", "name": "pictures", "port": 80}}
    page = {**SERVER, "exposed": {"kind": "ingress", "port": 80}}
    ingresses = objects("Ingress", **parts_of(OLLAMA, exposed, BACKEND, page))
    backends = {
        name: ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        for name, ingress in ingresses.items()
    }
    assert backends["pictures"] == {"name": "yardmaster", "port": {"name": "comfyui"}}
    assert backends["yardmaster-outside"] == {"name": "yardmaster", "port": {"name": "frontend"}}


def test_litellm_asks_the_door_and_knows_the_names_that_the_file_gives_a_model() -> None:
    gateway = {**GATEWAY, "models": {"deepseek-r1:14b": {"aliases": ["deepseek-r1"]}}}
    ollama = {**OLLAMA, "models": ["deepseek-r1:14b", "deepseek-r1:70b"]}
    second = {**ollama, "name": "second"}
    routes = [{"name": "gpt-4", "model": "openai/gpt-4", "keyFrom": "K", "insteadOf": ["deepseek-r1:70b"]}]
    router = {"name": "router", "kind": "litellm", "routes": routes}
    files = objects("ConfigMap", **parts_of(ollama, second, router, ALONE, gateway=gateway))["router-files"]
    config = yaml.safe_load(files["data"]["config.yaml"])
    assert [(entry["model_name"], entry["litellm_params"].get("api_base")) for entry in config["model_list"]] == [
        ("deepseek-r1:14b", "http://yardmaster:11434"),
        ("gpt-4", None),
    ]
    assert config["router_settings"]["model_group_alias"] == {"deepseek-r1": "deepseek-r1:14b"}
    assert "fallbacks" not in config["litellm_settings"]


def test_litellm_has_a_key_where_the_door_asks_for_one() -> None:
    router = {"name": "router", "kind": "litellm"}
    parts = parts_of(OLLAMA, router, ALONE, gateway={})
    config = yaml.safe_load(objects("ConfigMap", **parts)["router-files"]["data"]["config.yaml"])
    assert config["model_list"][0]["litellm_params"]["api_key"] == "os.environ/CORRAL_API_KEY"
    (container,) = objects("Deployment", **parts)["router"]["spec"]["template"]["spec"]["containers"]
    assert "CORRAL_API_KEY" in {entry["name"] for entry in container["env"]}


# --- the traffic that policies allow ---------------------------------------------------------------------------------


def allows(policies: Iterable[Json], pod: Json, port: int, *, namespace: str | None, labels: Mapping[str, str]) -> bool:
    """Judge as a network plugin does (Kubernetes, network policies): a pod that policies select gets what any allows.

    `pod` has `namespace` and `labels`; the caller is a pod of a namespace, or an address elsewhere (None).
    """
    selecting = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == pod["namespace"]
        and fits(policy["spec"]["podSelector"], pod["labels"])
        and "Ingress" in policy["spec"]["policyTypes"]
    ]
    rules = [rule for policy in selecting for rule in policy["spec"].get("ingress") or ()]
    return not selecting or any(
        port in {entry["port"] for entry in rule.get("ports") or [{"port": port}]}
        and ("from" not in rule or any(is_peer(peer, pod, namespace, labels) for peer in rule["from"]))
        for rule in rules
    )


def is_peer(peer: Json, pod: Json, namespace: str | None, labels: Mapping[str, str]) -> bool:
    if namespace is None:
        return False
    names = {"kubernetes.io/metadata.name": namespace}
    is_near = fits(peer["namespaceSelector"], names) if "namespaceSelector" in peer else namespace == pod["namespace"]
    return is_near and fits(peer.get("podSelector") or {}, labels)


def fits(selector: Json, labels: Mapping[str, str]) -> bool:
    return (selector.get("matchLabels") or {}).items() <= labels.items()


APART = parts_of(
    {**OLLAMA, "namespace": "engines"}, {**COMFYUI, "namespace": "engines"}, {**BACKEND, "namespace": "web"}, SERVER
)


@pytest.mark.parametrize(
    ("caller", "target", "port", "is_allowed"),
    [
        ("ai", "ollama", 11434, True),  # the server drives its engines
        ("ai", "comfyui", 8188, True),
        ("web", "yardmaster", 11434, True),  # a caller of an engine reaches the door
        ("web", "ollama", 11434, True),  # `calls` says that it reaches it
        ("strangers", "yardmaster", 7433, False),
        ("strangers", "yardmaster", 11434, False),
        ("strangers", "ollama", 11434, False),
        ("monitoring", "yardmaster", 7433, True),
        (None, "yardmaster", 8188, True),  # `comfyui-lb`
        (None, "comfyui", 8188, False),
        (None, "yardmaster", 7433, False),
        (None, "yardmaster", 11434, False),
        ("strangers", "yardmaster", 22, False),
    ],
)
def test_policies_allow_the_traffic_of_doors_and_engines_alone(
    caller: str | None, target: str, port: int, is_allowed: bool
) -> None:
    policies = list_policies()
    workloads = {**objects("Deployment", **APART), **objects("StatefulSet", **APART)}
    metadata = workloads[target]["metadata"]
    pod = {
        "namespace": metadata["namespace"],
        "labels": workloads[target]["spec"]["template"]["metadata"]["labels"],
    }
    assert allows(policies, pod, port, namespace=caller, labels={}) is is_allowed


def list_policies() -> list[Json]:
    """List the policies of all namespaces; names are the same in several."""
    files = rendered(**APART)
    return [
        value
        for path, text in files.items()
        if path.startswith("kubernetes/") and path.endswith(".yaml")
        for value in yaml.safe_load_all(text)
        if value and value.get("kind") == "NetworkPolicy"
    ]
