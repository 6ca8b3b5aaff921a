"""Headers of models on a web server: only they are fetched, whatever the server does."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from corral.hardware.fit.shape import ModelShape
from corral.weights.catalogue import CATALOGUE
from corral.weights.errors import SourceDeniedError, SourceError
from corral.weights.fetching import Connections
from corral.weights.headers.errors import HeaderError
from corral.weights.headers.reading import shape_here, shape_there
from corral.weights.names import resolve
from doubles.file_server import FileServer, serving
from doubles.small_models import IMPATIENT
from doubles.tiny_llms import LLAMA, TinyLlm, write_llm

WITH_VOCABULARY = TinyLlm(vocabulary=40_000, width=64, layers=1)
"""Its header is longer than what is asked for first."""


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_llm(tmp_path_factory.mktemp("models") / "m.gguf", WITH_VOCABULARY).read_bytes()


async def read(server: FileServer, name: str) -> tuple[ModelShape, list[int]]:
    seen: list[int] = []
    entry = resolve(name, CATALOGUE)
    links = Connections(hugging_face=server.base, hugging_face_token=None, patience=IMPATIENT)
    shape = await shape_there(entry, connections=links, on_bytes=lambda _, done: seen.append(done))
    return shape, seen


async def test_only_the_header_of_a_model_on_hugging_face_is_fetched(content: bytes) -> None:
    files = {"/o/r/resolve/main/m.gguf": content}
    async with serving(FileServer(files=files)) as server:
        shape, seen = await read(server, "hf:o/r/m.gguf")

    assert shape.vocabulary == 40_000
    assert max(seen) < len(content) / 2
    ranges = server.ranges()
    assert len(ranges) > 1
    assert all(requested is not None and not requested.endswith("-") for requested in ranges)


async def test_the_header_grows_without_asking_for_a_byte_twice(content: bytes) -> None:
    files = {"/o/r/resolve/main/m.gguf": content}
    async with serving(FileServer(files=files)) as server:
        await read(server, "hf:o/r/m.gguf")

    bounds = [
        tuple(map(int, requested.removeprefix("bytes=").split("-"))) for requested in server.ranges() if requested
    ]
    assert len(bounds) > 1
    assert all(after[0] == before[1] + 1 for before, after in pairwise(bounds))


async def test_a_redirect_is_followed(content: bytes) -> None:
    server = FileServer(files={"/store/blob": content})
    server.redirects["/o/r/resolve/main/m.gguf"] = ("/store/blob", {})
    async with serving(server):
        shape, _ = await read(server, "hf:o/r/m.gguf")

    assert shape.architecture == "llama"


async def test_a_server_that_ignores_ranges_is_hung_up_on(content: bytes) -> None:
    async with serving(FileServer(files={"/m.gguf": content}, knows_ranges=False)) as server:
        shape, seen = await read(server, server.url("/m.gguf"))

    assert shape.vocabulary == 40_000
    assert max(seen) < len(content)


async def test_a_busy_server_is_asked_again(content: bytes) -> None:
    async with serving(FileServer(files={"/m.gguf": content}, refuse_with=[503])) as server:
        shape, _ = await read(server, server.url("/m.gguf"))

    assert shape.architecture == "llama"


async def test_a_server_that_stays_busy_is_given_up() -> None:
    async with serving(FileServer(refuse_with=[503] * 10)) as server:
        with pytest.raises(SourceError, match="503"):
            await read(server, server.url("/m.gguf"))


async def test_a_licence_that_was_not_accepted_is_said_to_be_the_reason() -> None:
    async with serving(FileServer(refuse_with=[403])) as server:
        with pytest.raises(SourceDeniedError) as refused:
            await read(server, "hf:o/r/m.gguf")

    assert "HF_TOKEN" in (refused.value.hint or "")


async def test_a_file_that_is_not_there_is_told() -> None:
    async with serving(FileServer()) as server:
        with pytest.raises(SourceError, match="404"):
            await read(server, "hf:o/r/m.gguf")


async def test_a_file_that_ends_inside_its_header_is_told(content: bytes) -> None:
    async with serving(FileServer(files={"/m.gguf": content[:300_000]})) as server:
        with pytest.raises(HeaderError, match="300000 bytes"):
            await read(server, server.url("/m.gguf"))


async def test_what_is_read_over_the_web_is_what_is_read_here(tmp_path: Path) -> None:
    path = write_llm(tmp_path / "m.gguf", LLAMA)
    async with serving(FileServer(files={"/m.gguf": path.read_bytes()})) as server:
        there, _ = await read(server, server.url("/m.gguf"))
    here = await shape_here(path, name="m")

    assert (there.tensors, there.blocks, there.vocabulary) == (here.tensors, here.blocks, here.vocabulary)
