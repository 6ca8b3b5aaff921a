"""Listeners of doors in a cluster file: what they become, and each mistake."""

from __future__ import annotations

import pytest

from corral.cluster.gateway_values import Frontend, Gateway, Listener
from doubles.cluster_texts import NODES, only_problem, problems, read


def test_every_setting_of_a_listener_reaches_the_values() -> None:
    gateway = read(
        NODES
        + "gateway:\n"
        + "  ollama: {port: 11434, owner: family, allow: [192.168.1.0/24, 'fd00::/8']}\n"
        + "  openai: {port: 8001}\n"
        + "  frontend: {port: 8080, api: http://backend:8000}\n"
    ).gateway

    family = Listener(port=11434, owner="family", allow=("192.168.1.0/24", "fd00::/8"))
    assert gateway == Gateway(
        ollama=family, openai=Listener(port=8001), frontend=Frontend(port=8080, api="http://backend:8000")
    )
    assert list(gateway.doors) == ["ollama", "openai", "frontend"]
    assert [listener.is_keyless for listener in gateway.listeners.values()] == [True, False]


def test_file_without_a_gateway_has_no_listener() -> None:
    assert read(NODES).gateway.doors == {}


@pytest.mark.parametrize(
    ("gateway", "where", "what"),
    [
        ("ollama: {port: 1}, openai: {port: 1}", "gateway.openai.port", "a listener with the port '1'"),
        ("ollama: {port: 1}, frontend: {port: 1, api: 'http://b'}", "gateway.frontend.port", "the port '1'"),
        ("ollama: {port: 1, owner: local}", "gateway.ollama.owner", "is the administrator"),
        ("comfyui: {port: 1, allow: []}", "gateway.comfyui.allow", "answers no client"),
        ("comfyui: {port: 1, allow: [home]}", "gateway.comfyui.allow[0]", "not a network: 'home'"),
        ("openai: {owner: family}", "gateway.openai", "`port` is missing"),
        ("frontend: {port: 1}", "gateway.frontend", "a frontend has one of `api` and `apiFrom`"),
        ("frontend: {port: 1, api: 'http://b', apiFrom: B}", "gateway.frontend", "a frontend has one of"),
        ("frontend: {port: 1, api: 'ftp://b'}", "gateway.frontend.api", "not an http or https URL"),
    ],
)
def test_wrong_listener_is_a_problem_at_its_place(gateway: str, where: str, what: str) -> None:
    problem = only_problem(f"{NODES}gateway: {{{gateway}}}\n")
    assert where in (problem.where or "")
    assert what in problem.what
    assert problem.hint


@pytest.mark.parametrize("way", ["url: 'http://127.0.0.1:11434'", "url: 'http://localhost:11434'"])
def test_listener_at_the_port_of_an_instance_on_this_machine_is_refused(way: str) -> None:
    engines = f"engines: {{ollama: {{instances: [{{name: big, {way}}}]}}}}\n"
    problem = only_problem(f"{NODES}{engines}gateway: {{ollama: {{port: 11434}}}}\n")
    assert "the instance 'big' of ollama is at port 11434" in problem.what


def test_listener_at_the_port_of_a_server_that_corral_runs_is_refused() -> None:
    engines = "engines: {comfyui: {instances: [{name: a, run: {command: [comfy], port: 8188}}]}}\n"
    assert "port 8188" in only_problem(f"{NODES}{engines}gateway: {{comfyui: {{port: 8188}}}}\n").what


def test_listener_can_have_the_port_of_an_instance_elsewhere() -> None:
    engines = "engines: {ollama: {instances: [{name: big, url: 'http://192.168.1.7:11434'}]}}\n"
    assert read(f"{NODES}{engines}gateway: {{ollama: {{port: 11434}}}}\n").gateway.ollama == Listener(port=11434)


def test_all_problems_of_listeners_are_reported_at_once() -> None:
    text = f"{NODES}gateway: {{ollama: {{port: 1, owner: local, allow: []}}, openai: {{port: 1, allow: [x]}}}}\n"
    assert len(problems(text)) == 4
