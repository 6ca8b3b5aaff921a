"""LiteLLM's routes: what is routed, where to, and what stands in."""

from __future__ import annotations

from typing import Any

import yaml

from corral.operations.cluster_file import read_cluster
from corral.rendering.targets import render_cluster

HEAD = """\
apiVersion: corral/v1
name: routed
nodes: [{name: one, gpus: [{model: RTX 4090}, {model: RTX 4090}]}]
"""


def text_of(body: str, path: str = "litellm/all/config.yaml") -> str:
    text = HEAD + body
    return render_cluster(read_cluster(text, name="c.yaml").cluster, source="c.yaml", text=text).files[path]


def routes_of(body: str) -> list[tuple[str, str, str | None]]:
    routes = yaml.safe_load(text_of(body))["model_list"]
    return [
        (route["model_name"], route["litellm_params"]["model"], route["litellm_params"].get("api_base"))
        for route in routes
    ]


def test_replicas_are_one_group_of_an_address_each() -> None:
    body = "services: [{name: ollama, engines: [ollama], gpus: 1, replicas: 2, models: ['llama3:8b']}]\n"
    assert routes_of(body) == [
        ("llama3:8b", "ollama_chat/llama3:8b", "http://ollama-0:11434"),
        ("llama3:8b", "ollama_chat/llama3:8b", "http://ollama-1:11434"),
    ]


def test_a_model_that_no_card_holds_is_a_note_and_not_a_route() -> None:
    body = "services: [{name: ollama, engines: [ollama], gpus: 1, models: ['llama3:70b', 'llama3:8b']}]\n"
    assert [name for name, _, _ in routes_of(body)] == ["llama3:8b"]
    assert "# Not routed to ollama: llama3:70b needs about" in text_of(body)


def test_an_ollama_that_takes_turns_is_not_routed_to() -> None:
    body = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1, models: ["llama3:8b"]}
  - {name: small, engines: [ollama], gpus: 1, models: ["phi3"]}
layouts: {edge: {services: {ollama: {node: one}}}}
"""
    text = text_of(body, "litellm/edge/config.yaml")
    assert [route["model_name"] for route in yaml.safe_load(text)["model_list"]] == ["llama3:8b"]
    assert "# Not routed to small: it takes its turn" in text


def test_a_route_stands_in_for_what_runs_and_never_under_the_name_of_what_cannot() -> None:
    body = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1, models: ["llama3:8b", "llama3:70b"]}
  - name: router
    kind: litellm
    routes:
      - {name: far, model: openai/gpt-4, keyFrom: KEY, insteadOf: ["llama3:8b", "llama3:70b"]}
      - {name: further, model: openai/gpt-4o, insteadOf: ["llama3:8b"]}
"""
    config: dict[str, Any] = yaml.safe_load(text_of(body))
    assert config["litellm_settings"]["fallbacks"] == [{"llama3:8b": ["far", "further"]}]
    assert "model_group_alias" not in config["router_settings"]
    assert "# llama3:70b cannot run here, and is not offered: ask for far by its own name." in text_of(body)
    assert config["model_list"][1]["litellm_params"] == {"model": "openai/gpt-4", "api_key": "os.environ/KEY"}
    assert config["general_settings"] == {"master_key": "os.environ/LITELLM_MASTER_KEY"}


def test_a_route_with_the_name_of_a_model_that_is_meant_to_run_here_is_a_note() -> None:
    body = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1, models: ["llama3:8b", "llama3:70b"]}
  - name: router
    kind: litellm
    routes: [{name: "llama3:70b", model: openai/gpt-4}, {name: "llama3:8b", model: openai/x}]
"""
    assert [model for _, model, _ in routes_of(body)] == ["ollama_chat/llama3:8b"]
    assert "# Not routed to openai/gpt-4: llama3:70b is a model that is meant to run here" in text_of(body)


def test_a_router_that_names_ollamas_gets_those_alone() -> None:
    body = """\
services:
  - {name: a, engines: [ollama], gpus: 1, models: ["llama3:8b"]}
  - {name: b, engines: [ollama], gpus: 1, models: ["llama3:8b"]}
  - {name: router, kind: litellm, calls: [b]}
"""
    assert [address for _, _, address in routes_of(body)] == ["http://b:11434"]


def test_without_a_router_the_file_is_for_one_that_is_started_by_hand() -> None:
    body = "services: [{name: ollama, engines: [ollama], gpus: 1, models: ['llama3:8b']}]\n"
    assert "# The cluster file has no service of kind litellm" in text_of(body)


def test_without_models_nothing_is_written() -> None:
    text = HEAD + "services: [{name: ollama, engines: [ollama], gpus: 1}]\n"
    assert (
        render_cluster(read_cluster(text, name="c.yaml").cluster, source="c.yaml", text=text, only=["litellm"]).files
        == {}
    )
