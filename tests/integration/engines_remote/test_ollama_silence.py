"""An Ollama server that says nothing: it loads, reads or writes, or it is gone."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from corral.engines.embedding import PIECE_CHARACTERS, PIECE_TEXTS, split_texts
from corral.engines.http.client import Timings
from corral.engines.http.errors import GenerationFailedError, ServerAnswerError, ServerBusyError, ServerUnreachableError
from corral.engines.ollama.engine import Ollama
from corral.work import FailureScope, Work
from doubles.ollama import OllamaDouble, embedding
from doubles.remote_reports import KeptReports

QUICK = Timings(check_s=0.3, probe_s=0.02, retry_s=0.01, busy_s=0.1)


@pytest.fixture
async def ollama() -> AsyncIterator[OllamaDouble]:
    async with OllamaDouble() as double:
        yield double


@pytest.fixture
async def engine(ollama: OllamaDouble) -> AsyncIterator[Ollama]:
    engine = Ollama(ollama.url, timings=QUICK)
    yield engine
    await engine.close()


def asked(scratch: Path, *, model: str = "smol:latest", **inputs: Any) -> Work:
    return Work(attempt=uuid4(), task=1, engine="ollama", model=model, inputs=inputs, scratch=scratch, timeout_s=20)


@pytest.mark.parametrize("inputs", [{"prompt": "a b"}, {"input": "a b"}])
async def test_silence_is_no_loss_while_the_server_says_its_version(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path, inputs: dict[str, str]
) -> None:
    ollama.hold_reading()
    running = asyncio.create_task(engine.run(asked(tmp_path, **inputs), reports))
    await ollama.until(lambda: ollama.versions >= 5)

    await ollama.proceed()

    assert (await running).files


async def test_silence_between_two_tokens_is_no_loss_while_the_server_says_its_version(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    running = asyncio.create_task(engine.run(asked(tmp_path, prompt="a b c"), reports))
    ollama.hold()
    await ollama.until(lambda: ollama.versions >= 5)

    await ollama.proceed()

    assert (await running).values["text"] == "a b c "


@pytest.mark.parametrize("reading", [True, False])
async def test_a_server_that_died_without_a_word_is_lost(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path, reading: bool
) -> None:
    (ollama.hold_reading if reading else ollama.hold)()
    running = asyncio.create_task(engine.run(asked(tmp_path, prompt="a b c"), reports))
    await ollama.until(lambda: ollama.reading == 1 or ollama.writing == 1)

    ollama.faults.frozen = True

    with pytest.raises(ServerUnreachableError, match="fell silent") as failure:
        await running
    assert failure.value.scope is FailureScope.SLOT


async def test_one_question_that_goes_unanswered_is_no_loss(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.hold_reading()
    running = asyncio.create_task(engine.run(asked(tmp_path, prompt="a"), reports))
    await ollama.until(lambda: ollama.reading == 1)
    ollama.faults.lost_versions = 2

    await ollama.until(lambda: ollama.faults.lost_versions == 0 and ollama.versions >= 5)
    await ollama.proceed()

    assert (await running).values["text"] == "a "


async def test_a_stream_that_stops_in_its_midst_is_given_up_though_the_server_is_alive(
    ollama: OllamaDouble, reports: KeptReports, tmp_path: Path
) -> None:
    engine = Ollama(ollama.url, timings=replace(QUICK, stall_s=0.2))
    ollama.faults.hold_after = 1

    with pytest.raises(GenerationFailedError, match="stopped in its midst"):
        await engine.run(asked(tmp_path, prompt="a b c"), reports)
    await engine.close()


async def test_a_stream_of_malformed_chunks_ends_the_attempt(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.garble_after = 1
    running = asyncio.create_task(engine.run(asked(tmp_path, prompt="a b c"), reports))
    await reports.noted("1 tokens")

    await ollama.proceed()

    with pytest.raises(ServerUnreachableError, match="broken pieces"):
        await running


async def test_cancelling_ends_a_request_that_is_still_silent(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.hold_reading()
    running = asyncio.create_task(engine.run(asked(tmp_path, prompt="a b"), reports))
    await ollama.until(lambda: ollama.reading == 1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert ollama.reading == 1  # as the real one: a prompt is read to its end
    assert ollama.writing == 0


async def test_a_full_queue_is_waited_for(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.busy = 2

    produced = await engine.run(asked(tmp_path, prompt="a b"), reports)

    assert produced.values["text"] == "a b "
    assert "the server's queue is full" in reports.notes


async def test_a_queue_that_stays_full_gives_the_task_back_unspent(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.busy = 1000

    with pytest.raises(ServerBusyError) as failure:
        await engine.run(asked(tmp_path, prompt="a b"), reports)

    assert failure.value.scope is FailureScope.WAIT


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_proxys_page_is_named_by_its_title(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path, status: int
) -> None:
    page = "<html>\r\n<head><title>502 Bad &amp; Ugly</title></head>\r\n<body><h1>nginx</h1></body></html>"
    ollama.faults.page = (status, page)

    with pytest.raises(Exception, match="a web page with the title '502 Bad & Ugly'") as failure:
        await engine.run(asked(tmp_path, prompt="a"), reports)

    assert "<" not in str(failure.value)


async def test_a_page_in_place_of_an_answer_is_named_by_its_title(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.page = (200, "<!DOCTYPE html><title>Sign in</title>")

    with pytest.raises(ServerAnswerError, match="a web page with the title 'Sign in'"):
        await engine.run(asked(tmp_path, input="a"), reports)


async def test_many_texts_are_embedded_in_pieces_with_progress(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    texts = [f"text {number}" for number in range(2 * PIECE_TEXTS + 1)]

    produced = await engine.run(asked(tmp_path, input=texts), reports)

    content = json.loads(produced.files[0].path.read_text())
    assert content == {"model": "smol:latest", "embeddings": [embedding(text) for text in texts]}
    assert [len(body["input"]) for body in ollama.bodies] == [PIECE_TEXTS, PIECE_TEXTS, 1]
    assert reports.fractions == [PIECE_TEXTS / len(texts), 2 * PIECE_TEXTS / len(texts), 1.0]
    assert produced.values["embeddings"] == len(texts)
    assert produced.values["prompt_tokens"] == 2 * len(texts)


def test_pieces_are_bounded_by_characters_as_well_and_keep_the_order() -> None:
    texts = ["a" * PIECE_CHARACTERS, "b", "c" * (PIECE_CHARACTERS - 1), "d" * (2 * PIECE_CHARACTERS), "e"]

    pieces = list(split_texts(texts))

    assert [text for piece in pieces for text in piece] == texts
    assert [len(piece) for piece in pieces] == [1, 2, 1, 1]
