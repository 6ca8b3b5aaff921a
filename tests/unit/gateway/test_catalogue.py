"""Names of models over all instances: one model has one entry, unknown names get near ones, looks are shared."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from corral.cluster.gateway_values import CloudModel, GatewayModel
from corral.gateway.breakers import Breakers
from corral.gateway.catalogue import Catalogue, KnownModel, ModelUnknownError, find_near_names
from corral.slots.guests import Choice
from corral.work import HostedModel, LoadedModel, SlotId
from doubles.endpoints import ListedModels

A, B = SlotId("a/ollama"), SlotId("b/ollama")


async def a_catalogue(*models: KnownModel, named: tuple[GatewayModel, ...] = ()) -> Catalogue:
    settings = {model.name: model for model in named}
    catalogue = Catalogue(ListedModels(list(models)), named=lambda: settings)
    await catalogue.refresh()
    return catalogue


async def test_model_of_several_engines_and_instances_is_one_offer() -> None:
    loaded = HostedModel(name="phi:latest", loaded=LoadedModel())
    catalogue = await a_catalogue(
        KnownModel(engine="ollama", name="phi:latest", slots=frozenset({A}), facts=HostedModel(name="phi:latest")),
        KnownModel(engine="ollama", name="phi:latest", slots=frozenset({B}), facts=loaded),
        KnownModel(engine="llama", name="phi"),
    )
    (offer,) = catalogue.list_offers()

    assert offer.choices == (Choice("ollama", "phi:latest"), Choice("llama", "phi"))
    assert (offer.models[0].slots, offer.models[0].facts) == ({A, B}, loaded)
    assert catalogue.find_known("PHI") is offer


async def test_models_of_the_file_have_their_aliases_workflow_and_fallback() -> None:
    cloud = CloudModel(name="far", model="big", base_url="https://far/v1", key_from="FAR_KEY")
    catalogue = await a_catalogue(
        KnownModel(engine="ollama", name="phi:latest"),
        named=(
            GatewayModel(name="phi", aliases=("gpt-4o", "Fast"), fallback=(cloud,)),
            GatewayModel(name="portrait", workflow="portrait"),
        ),
    )

    assert catalogue.list_names() == ("Fast", "gpt-4o", "phi:latest", "portrait")
    offer = await catalogue.find("fast")
    assert (offer.name, offer.fallback, offer.choices) == ("phi:latest", (cloud,), (Choice("ollama", "phi:latest"),))
    assert (await catalogue.find("portrait")).settings == GatewayModel(name="portrait", workflow="portrait")


async def test_denied_model_is_forgotten_until_the_next_look() -> None:
    catalogue = await a_catalogue(KnownModel(engine="ollama", name="phi:latest", slots=frozenset({A, B})))
    catalogue.forget(Choice("ollama", "phi:latest"), A)
    assert catalogue.list_offers()[0].models[0].slots == {B}
    catalogue.forget(Choice("ollama", "phi:latest"), B)
    assert catalogue.list_offers() == ()
    await catalogue.refresh()
    assert catalogue.list_names() == ("phi:latest",)


@dataclass
class SlowSource:
    """Answers once it is let go, and learns of a model meanwhile."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    looks: int = 0

    async def list_models(self) -> Sequence[KnownModel]:
        self.looks += 1
        await self.go_on.wait()
        return (KnownModel(engine="ollama", name="new:latest"),)


async def test_requests_for_an_unknown_name_share_one_look() -> None:
    source = SlowSource()
    catalogue = Catalogue(source)
    finding = [asyncio.create_task(catalogue.find("new")) for _ in range(5)]
    await asyncio.sleep(0)
    source.go_on.set()

    assert {offer.name for offer in await asyncio.gather(*finding)} == {"new:latest"}
    with pytest.raises(ModelUnknownError):
        await catalogue.find("other")
    assert source.looks == 1


async def test_without_a_model_the_hint_is_how_to_get_one() -> None:
    with pytest.raises(ModelUnknownError) as raised:
        await (await a_catalogue()).find("phi")
    assert raised.value.hint is not None
    assert "corral models pull" in raised.value.hint


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("llama3", ("llama3.2:latest",)),
        ("qwen", ("qwen3:8b", "qwen2.5-coder:7b")),
        ("gpt-5", ()),
        ("qwen3:14b", ("qwen3:8b",)),
    ],
)
def test_near_names_are_those_that_are_probably_meant(wrong: str, near: tuple[str, ...]) -> None:
    assert find_near_names(wrong, ("llama3.2:latest", "phi4:latest", "qwen2.5-coder:7b", "qwen3:8b")) == near


def test_breaker_lets_one_guest_try_after_its_wait_and_waits_longer_each_time() -> None:
    now = [0.0]
    breakers, choice = Breakers(lambda: now[0]), Choice("ollama", "phi:latest")
    breakers.note_failure(A, choice)

    assert breakers.begin_trial([choice]).avoid == {A}
    assert breakers.begin_trial([Choice("ollama", "other")]).avoid == frozenset()
    now[0] = 1.5
    assert breakers.begin_trial([choice]).avoid == frozenset()
    assert breakers.begin_trial([choice]).avoid == {A}, "the others wait for that guest"
    breakers.note_failure(A, choice)
    now[0] = 3.0
    assert breakers.begin_trial([choice]).avoid == {A}
    breakers.note_success(A, choice)
    assert breakers.begin_trial([choice]).avoid == frozenset()


def test_each_slot_that_failed_waits_for_a_guest_of_its_own() -> None:
    now = [0.0]
    breakers, choice = Breakers(lambda: now[0]), Choice("ollama", "phi:latest")
    breakers.note_failure(A, choice)
    now[0] = 0.5
    breakers.note_failure(B, choice)

    now[0] = 2.0
    first = breakers.begin_trial([choice])
    assert (first.avoid, first.tries) == ({B}, (A,)), "the one that has waited longest is tried"
    second = breakers.begin_trial([choice])
    assert (second.avoid, second.tries) == ({A}, (B,))
    assert breakers.begin_trial([choice]).avoid == {A, B}

    breakers.leave_trial(second, [choice])
    assert breakers.begin_trial([choice]).tries == (B,), "that guest went elsewhere: the next one tries it"


async def test_servers_are_asked_anew_in_the_background_and_only_while_somebody_asks() -> None:
    now = [0.0]
    source = ListedModels([KnownModel(engine="ollama", name="phi:latest")])
    catalogue = Catalogue(source, clock=lambda: now[0])
    await catalogue.ready()
    now[0] = 10.0
    assert catalogue.find_known("phi") is not None
    await asyncio.sleep(0)
    assert source.looks == 1
    now[0] = 20.0
    assert catalogue.find_known("phi") is not None
    await catalogue.refresh()
    assert source.looks == 2
    now[0] = 2000.0
    await catalogue.ready()
    assert source.looks == 3
    await catalogue.close()
