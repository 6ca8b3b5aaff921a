"""What Ollama's lists say of models: clients choose by abilities, and cut prompts to the context that they read."""

from __future__ import annotations

import pytest

from corral.gateway.catalogue import KnownModel, Offer
from corral.gateway.ollama.listing import describe_shown, list_tags
from corral.work import HostedModel


def an_offer(engine: str, facts: HostedModel | None) -> Offer:
    return Offer(name="m", models=(KnownModel(engine=engine, name="m", facts=facts),))


CODER = HostedModel(
    name="m",
    family="qwen2",
    parameters="494M",
    quantization="Q4_K_M",
    context=4096,
    capabilities=("tools", "completion"),
)


@pytest.mark.parametrize("engine", ["llama", "openai", "ollama"])
def test_model_is_listed_with_what_it_can_do_and_shown_with_its_context(engine: str) -> None:
    offer = an_offer(engine, CODER)

    (listed,) = list_tags([("m", offer)])["models"]
    shown = describe_shown("m", offer)

    assert listed["capabilities"] == shown["capabilities"] == ["completion", "tools"]
    assert shown["model_info"]["general.architecture"] == "qwen2"
    assert shown["model_info"]["qwen2.context_length"] == 4096
    assert listed["details"] == shown["details"]
    assert (shown["details"]["family"], shown["details"]["quantization_level"]) == ("qwen2", "Q4_K_M")


def test_context_of_an_unknown_architecture_is_found_by_its_name_too() -> None:
    info = describe_shown("m", an_offer("openai", HostedModel(name="m", context=8192)))["model_info"]
    assert info[f"{info['general.architecture']}.context_length"] == 8192


def test_context_that_is_unknown_is_not_shown() -> None:
    info = describe_shown("m", an_offer("openai", None))["model_info"]
    assert not [key for key in info if key.endswith("context_length")]


@pytest.mark.parametrize(
    ("engine", "listed"), [("openai", ["completion"]), ("llama", ["completion"]), ("ollama", None)]
)
def test_server_that_does_not_say_what_its_model_can_do_has_models_that_write(
    engine: str, listed: list[str] | None
) -> None:
    (model,) = list_tags([("m", an_offer(engine, HostedModel(name="m")))])["models"]
    assert model.get("capabilities") == listed
