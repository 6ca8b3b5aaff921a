"""Bodies of clients: what cannot be parsed, is too large for the memory, or cannot be kept is refused with a reason."""

from __future__ import annotations

import pytest

from corral.gateway.comfyui.asked import RefusedError, read_json, read_prompt
from corral.gateway.ollama.requests import OllamaRequestError, check_options
from corral.gateway.openai.batches.door import BatchBodyError, read_batch
from corral.gateway.openai.images import make_drawing
from corral.gateway.openai.requests import Asked, RequestBodyError
from corral.gateway.parsing import MAX_VALUES, explain_unkept, parse, parse_kept

NOT_JSON = [
    b"",
    b"{",
    b"\xff",
    b"[NaN]",
    b"[Infinity]",
    b"[" * 100_000,
    b"1" * 5000,
    rb'"\ud800"',
    b"[" + b"[]," * MAX_VALUES,
]
NOT_KEPT = [rb'{"a": ["\u0000"]}', rb'{"a\u0000": 1}', b"[[1e999]]", b"[-1e999]"]


@pytest.mark.parametrize("body", [*NOT_JSON, b"[" * (MAX_VALUES + 1)])
def test_a_body_that_cannot_be_parsed_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(body)


@pytest.mark.parametrize("body", NOT_KEPT)
def test_what_the_database_cannot_hold_is_refused(body: bytes) -> None:
    assert explain_unkept(parse(body)) is not None
    with pytest.raises(ValueError, match=r"cannot be kept|too large"):
        parse_kept(body)


def test_what_looks_like_a_nul_character_and_is_text_is_kept() -> None:
    assert parse_kept(rb'{"a": "\\u0000", "b": [null, true, 1e300, 10]}') == {
        "a": "\\u0000",
        "b": [None, True, 1e300, 10],
    }


@pytest.mark.parametrize("body", [*NOT_JSON[1:], *NOT_KEPT])
def test_comfyui_and_batches_refuse_it_in_their_own_words(body: bytes) -> None:
    with pytest.raises(RefusedError):
        read_json(body)
    with pytest.raises(BatchBodyError):
        read_batch(body)


@pytest.mark.parametrize("number", ["1e999", "NaN", '"inf"', '"nan"', "1" + "0" * 400])
def test_a_number_in_the_queue_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(RefusedError):
        read_prompt(f'{{"prompt": {{"1": {{"class_type": "A"}}}}, "number": {number}}}'.encode())


@pytest.mark.parametrize("fields", [{"prompt": "a\x00"}, {"prompt": "a", "n": "9" * 5000}, {"prompt": "a", "n": "²"}])
def test_images_whose_fields_cannot_be_used_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(RequestBodyError):
        make_drawing("w", fields, {})


def test_options_of_ollama_without_end_are_refused() -> None:
    with pytest.raises(OllamaRequestError):
        check_options({"num_predict": float("inf")})


def test_chats_nested_without_end_are_refused() -> None:
    with pytest.raises(RequestBodyError):
        Asked("/v1/chat/completions", b'{"model": "m", "messages": ' + b"[" * 5000)
