"""Where others ask the server of an instance: with its secrets, and without any in its address."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from corral.engine_kinds import ENGINES
from corral.engines.building import build_remote
from corral.engines.credentials import Credentials, SecretMissingError
from corral.engines.ollama.engine import Ollama
from corral.engines.openai.engine import OpenAi
from corral.engines.reaching import make_endpoint
from corral.slots.registry import Registry
from corral.work import PASSED_ON, Dialect, HasEndpoint, Json
from doubles.comfyui import ComfyDouble
from doubles.local_engines import a_work
from doubles.ollama import OllamaDouble
from doubles.openai_server import OpenAiDouble
from doubles.remote_reports import KeptReports
from doubles.yard import make_slots

SECRET = "s3cret-of-the-gpu-room"
GIVEN = Credentials(token_from="GPU_ROOM", environment={"GPU_ROOM": SECRET})


@pytest.mark.parametrize("name", [kind.name for kind in ENGINES.values() if kind.remote and kind.scheme is None])
async def test_every_engine_with_servers_by_url_lends_its_server_with_the_instances_token(name: str) -> None:
    engine = build_remote(name, url="http://desk:1234/", options={}, credentials=GIVEN)
    lacking = build_remote(name, url="http://desk:1234", options={}, credentials=Credentials(token_from="ABSENT"))
    assert isinstance(engine, HasEndpoint)
    assert isinstance(lacking, HasEndpoint)

    async with engine.reach("a-model", lambda _: None) as endpoint:
        assert (endpoint.url, endpoint.headers["Authorization"]) == ("http://desk:1234", f"Bearer {SECRET}")
        assert Dialect[name.upper()] in endpoint.dialects
        assert SECRET not in repr(endpoint)
    with pytest.raises(SecretMissingError):
        async with lacking.reach("a-model", lambda _: None):
            pass


async def test_a_model_of_ollama_is_named_as_its_server_lists_it() -> None:
    async with OllamaDouble() as ollama:
        engine = build_remote("ollama", url=ollama.url, options={})
        assert isinstance(engine, HasEndpoint)

        async with engine.reach("Smol", lambda _: None) as endpoint, aiohttp.ClientSession() as session:
            asked = {"model": endpoint.model, "prompt": "Hi", "stream": False}
            async with session.post(f"{endpoint.url}/api/generate", json=asked) as answer:
                assert (answer.status, endpoint.model) == (200, "smol:latest")


def test_a_password_in_an_address_becomes_a_header() -> None:
    endpoint = make_endpoint("http://ada:p%40ss@desk:1234/ollama/", {}, Dialect.OLLAMA)

    assert endpoint.url == "http://desk:1234/ollama"
    assert endpoint.headers["Authorization"] == "Basic YWRhOnBAc3M="


async def test_several_attempts_share_a_server_and_a_cancel_stops_its_own_alone(tmp_path: Path) -> None:
    async with OpenAiDouble(loaded=[]) as server:
        engine = OpenAi(server.url)
        server.hold()
        works = [a_work("openai", tmp_path, model="tts", prompt=f"number {count}") for count in range(3)]
        running = [asyncio.create_task(engine.run(work, KeptReports())) for work in works]
        await server.until(lambda: server.writing == 3)

        running[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await running[1]
        await server.until(lambda: server.writing == 2)
        await server.proceed()

        first, third = await running[0], await running[2]
        await engine.close()

    assert [produced.values["text"].split() for produced in (first, third)] == [["number", "0"], ["number", "2"]]


async def test_a_cancel_ends_the_request_also_in_the_moment_when_its_answer_begins(tmp_path: Path) -> None:
    async with OpenAiDouble(loaded=[]) as server:
        server.hold()
        cancelled: list[BaseException] = []  # they keep what their attempts had, as a log does
        for steps in range(12):  # of the event loop, one of which is the one in which the head of the answer arrives
            engine = OpenAi(server.url)
            work = a_work("openai", tmp_path, model="tts", prompt="on and on")
            running = asyncio.create_task(engine.run(work, KeptReports()))
            await server.until(lambda: server.writing == 1)
            for _ in range(steps):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await running
            cancelled.append(raised.value)

            await server.until(lambda: server.writing == 0)
            await engine.close()


async def test_a_server_that_does_not_say_its_lanes_is_asked_once() -> None:
    async with OpenAiDouble() as server:
        engine = OpenAi(server.url)

        first, again = await engine.count_lanes(), await engine.count_lanes()
        await engine.close()

    assert (first, again) == (None, None)
    assert server.asked.count("/props") == 1


def a_slot_of_a_corral(problem: str | None = None) -> dict[str, Json]:
    return {"engine": "llama", "device": "pc/gpu0", "gate": "open", "problem": problem, "lanes": 4}


async def test_a_corral_whose_slots_take_no_work_yet_is_known_and_asked_for_its_lanes_again() -> None:
    async with OpenAiDouble(corral_slots=[a_slot_of_a_corral("not checked yet")]) as server:
        engine = OpenAi(server.url)

        starting = await engine.count_lanes()
        async with engine.reach(None, lambda _: None) as endpoint:
            assert endpoint.is_corral
        server.corral_slots = [a_slot_of_a_corral()]
        started = await engine.count_lanes()
        await engine.close()

    assert (starting, started) == (None, 4)


async def test_a_corral_is_known_where_the_cluster_file_says_its_lanes() -> None:
    async with OpenAiDouble(corral_slots=[a_slot_of_a_corral()]) as server:
        engine = OpenAi(server.url)
        wanted = make_slots(engine)
        registry = Registry(replace(wanted, slots=tuple(replace(slot, lanes=2) for slot in wanted.slots)))
        (place,) = registry

        await place.check(engine.name, now=0.0)
        async with engine.reach(None, lambda _: None) as endpoint:
            assert endpoint.is_corral
        assert place.count_lanes(engine.name) == 2
        await registry.close()


async def test_a_guest_of_ollama_gets_the_context_that_is_in_memory(tmp_path: Path) -> None:
    async with OllamaDouble() as ollama:
        engine = build_remote("ollama", url=ollama.url, options={})
        assert isinstance(engine, HasEndpoint)
        asked = {"prompt": "a fox", "options": {"num_ctx": 6144}}
        await engine.run(a_work("ollama", tmp_path, model="smol", **asked), KeptReports())
        await engine.run(a_work("ollama", tmp_path, model="smol", prompt="a heron"), KeptReports())

        async with engine.reach("smol", lambda _: None) as endpoint:
            assert (endpoint.choose_context(None), endpoint.choose_context(2048)) == (6144, 6144)
        await engine.close()

    assert ollama.loads == [("smol:latest", 6144)]


@pytest.mark.parametrize(("parallel", "overlaps"), [(1, False), (2, True)])
async def test_two_requests_at_once_show_whether_an_ollama_server_has_lanes(parallel: int, overlaps: bool) -> None:
    async with OllamaDouble(parallel=parallel, seconds_per_token=0.005) as ollama:
        engine = Ollama(ollama.url)
        unloaded = await engine.overlaps()
        ollama.loaded["nomic-embed-text:latest"] = 2048
        only_embeds = await engine.overlaps()
        ollama.loaded["smol:latest"] = 2048

        measured = await engine.overlaps()
        await engine.close()

    assert (unloaded, only_embeds, measured) == (None, None, overlaps)
    assert ollama.loads == []


async def test_requests_to_instances_say_that_they_come_from_a_corral(tmp_path: Path) -> None:
    async with OllamaDouble() as ollama, ComfyDouble() as comfy:
        for name, url in (("ollama", ollama.url), ("comfyui", comfy.url)):
            engine = build_remote(name, url=url, options={})
            assert isinstance(engine, HasEndpoint)
            await engine.check()
            async with engine.reach(None, lambda _: None) as endpoint:
                assert endpoint.headers[PASSED_ON] == "1"
            await engine.close()

    assert {headers[PASSED_ON] for headers in ollama.headers} == {"1"}
