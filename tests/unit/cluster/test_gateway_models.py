"""Models of the gateway in a cluster file: what they become, and each mistake."""

from __future__ import annotations

from datetime import timedelta

import pytest

from corral.cluster.gateway_values import CloudModel, GatewayModel
from doubles.cluster_texts import NODES, only_problem, read


def test_every_setting_of_a_model_reaches_the_values() -> None:
    gateway = read(
        NODES
        + """gateway:
  stallAfter: 90s
  models:
    llama3.2:
      aliases: [gpt-4o, fast]
      fallback: [{name: far, model: big, baseUrl: "https://far.example/v1", keyFrom: FAR_KEY}]
      fallbackAfter: 5s
    portrait: {workflow: portrait.json}
"""
    ).gateway

    far = CloudModel(name="far", model="big", base_url="https://far.example/v1", key_from="FAR_KEY")
    after = timedelta(seconds=5)
    assert gateway.stall_after == timedelta(seconds=90)
    assert gateway.models == {
        "llama3.2": GatewayModel(name="llama3.2", aliases=("gpt-4o", "fast"), fallback=(far,), fallback_after=after),
        "portrait": GatewayModel(name="portrait", workflow="portrait.json"),
    }


def test_nothing_is_served_elsewhere_unless_the_file_says_so() -> None:
    assert read(NODES + "gateway: {models: {a: {aliases: [b]}}}\n").gateway.models["a"].fallback == ()
    assert read(NODES).gateway.models == {}


@pytest.mark.parametrize(
    ("models", "where", "what"),
    [
        ("a: {aliases: [b]}, b: {}", "gateway.models.a.aliases[0]", "a model of the gateway with the name 'b'"),
        ("a: {aliases: [c]}, b: {aliases: [c]}", "gateway.models.b.aliases[0]", "with the name 'c'"),
        ("a: {fallbackAfter: 5s}", "gateway.models.a.fallbackAfter", "there is none"),
        (
            "a: {workflow: a.json, fallback: [{name: far, model: b, baseUrl: 'http://far'}]}",
            "gateway.models.a.fallback",
            "not both",
        ),
        ("a: {fallback: [{name: far, model: b}]}", "gateway.models.a.fallback[0]", "`baseUrl` is missing"),
        (
            "a: {fallback: [{name: far, model: b, baseUrl: 'http://far', keyFrom: 'sk-secret'}]}",
            "gateway.models.a.fallback[0].keyFrom",
            "not the name of an environment variable",
        ),
    ],
)
def test_each_mistake_is_reported_where_it_is(models: str, where: str, what: str) -> None:
    problem = only_problem(NODES + f"gateway: {{models: {{{models}}}}}\n")
    assert what in problem.what
    assert problem.where is not None
    assert where in problem.where
    assert "sk-secret" not in str(problem)
