"""Lanes of servers that say nothing of them are checked with two requests at once."""

from __future__ import annotations

import pytest

from corral.cluster.values import Cluster, EngineSettings, Instance, Node
from corral.engines.servers.directory import Directory
from corral.operations.lane_checks import LanesAsked, check_lanes
from corral.telemetry.doctor import Finding, State
from doubles.ollama import OllamaDouble
from doubles.openai_server import OpenAiDouble

SLOT = LanesAsked(slot="desk/ollama", engine="ollama", instance="desk", lanes=4)


def a_cluster(url: str, engine: str = "ollama") -> Cluster:
    settings = EngineSettings(name=engine, instances=(Instance(name="desk", url=url),))
    return Cluster(name="home", nodes=(Node(name="pc"),), engines={engine: settings})


async def check(url: str, slot: LanesAsked = SLOT) -> tuple[Finding, ...]:
    return (await check_lanes(a_cluster(url, slot.engine), Directory(), [slot])).items


async def test_a_server_that_answers_one_request_at_a_time_is_found_with_what_mends_it() -> None:
    async with OllamaDouble(parallel=1, seconds_per_token=0.005) as ollama:
        ollama.loaded["smol:latest"] = 2048
        (finding,) = await check(ollama.url)

    assert finding.state is State.WARNING
    assert "began the second of two answers only after the first had ended" in finding.what
    assert finding.fix is not None
    assert "OLLAMA_NUM_PARALLEL=4" in finding.fix


async def test_a_server_that_answers_two_requests_at_once_is_well() -> None:
    async with OllamaDouble(parallel=2, seconds_per_token=0.005) as ollama:
        ollama.loaded["smol:latest"] = 2048
        (finding,) = await check(ollama.url)

    assert (finding.name, finding.state, finding.fix) == ("lanes desk/ollama", State.OK, None)


@pytest.mark.parametrize(
    ("slot", "why"),
    [
        (SLOT, "no model in memory that writes"),
        (LanesAsked(slot="desk/ollama", engine="ollama", instance="desk", lanes=4, is_busy=True), "works now"),
    ],
)
async def test_what_cannot_be_seen_now_is_unknown_and_nothing_is_loaded_for_it(slot: LanesAsked, why: str) -> None:
    async with OllamaDouble() as ollama:
        (finding,) = await check(ollama.url, slot)

    assert finding.state is State.UNKNOWN
    assert why in finding.what
    assert ollama.loads == []


async def test_a_server_that_does_not_answer_is_unknown() -> None:
    (finding,) = await check("http://127.0.0.1:9")

    assert finding.state is State.UNKNOWN
    assert "could not be checked" in finding.what


async def test_one_lane_and_engines_that_say_their_lanes_need_no_check() -> None:
    async with OpenAiDouble() as server:
        said = LanesAsked(slot="desk/openai", engine="openai", instance="desk", lanes=4)
        single = LanesAsked(slot="desk/openai", engine="openai", instance="desk", lanes=1)

        assert await check(server.url, said) == await check(server.url, single) == ()
        assert server.bodies == []
