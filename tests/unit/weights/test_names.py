"""What the names of models mean."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.weights.catalogue import CATALOGUE, RESEMBLYZER
from corral.weights.errors import ModelNameError
from corral.weights.names import resolve
from corral.weights.values import HuggingFaceSource, ModelFile, PypiSource, UrlSource

PLAIN = re.compile(r"[A-Za-z0-9._-]{1,100}")
SHA256 = "A" * 64


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("smollm2", "smollm2-135m-instruct"),
        ("tiny.en", "whisper-tiny.en"),
        ("joe", "piper-en-us-joe"),
    ],
)
def test_the_catalogue_is_named_by_name_and_alias(name: str, meant: str) -> None:
    assert resolve(name, CATALOGUE).name == meant


def test_names_and_aliases_of_the_catalogue_are_unique() -> None:
    names = [name for entry in CATALOGUE for name in (entry.name, *entry.aliases)]

    assert len(set(names)) == len(names)
    assert len({entry.key for entry in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_catalogue_file_has_size_checksum_and_a_place_in_every_source(entry: object) -> None:
    (known,) = [candidate for candidate in CATALOGUE if candidate is entry]
    names = {file.name for file in known.files}

    assert all(file.size and re.fullmatch(r"[0-9a-f]{64}", file.sha256 or "") for file in known.files)
    assert known.opens is None or known.opens in names
    assert known.licence
    assert known.engines or known is RESEMBLYZER  # no task names it: an engine compares voices with it
    for source in known.sources:
        assert isinstance(source, PypiSource | HuggingFaceSource)
        places = [wheel.members for wheel in source.wheels] if isinstance(source, PypiSource) else [source.paths]
        assert set().union(*places) == names


@pytest.mark.parametrize("prefix", ["hf:", ""])
def test_a_hugging_face_file_is_named_by_repository_and_path(prefix: str) -> None:
    entry = resolve(f"{prefix}owner/repo-GGUF/folder/model.Q4_K_M.gguf", CATALOGUE)

    assert entry.name == "hf:owner/repo-GGUF/folder/model.Q4_K_M.gguf"
    assert entry.opens == "model.Q4_K_M.gguf"
    assert entry.sources == (
        HuggingFaceSource(
            repo="owner/repo-GGUF", revision="main", paths={"model.Q4_K_M.gguf": "folder/model.Q4_K_M.gguf"}
        ),
    )


def test_a_hugging_face_revision_stands_after_the_repository() -> None:
    (source,) = resolve("hf:owner/repo@v1.0.0/model.gguf", CATALOGUE).sources

    assert isinstance(source, HuggingFaceSource)
    assert (source.repo, source.revision) == ("owner/repo", "v1.0.0")


@pytest.mark.parametrize(
    "name", ["hf:owner/repo", "hf:owner", "hf:", "hf:owner/repo/../x", "hf:../repo/x", "hf:a/b/c d"]
)
def test_what_is_no_file_of_a_repository_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(ModelNameError, match="hf:owner/repo/file"):
        resolve(name, CATALOGUE)


def test_a_url_may_carry_its_checksum() -> None:
    entry = resolve(f"https://example.org/a/model%20one.gguf?download=1#sha256={SHA256}", CATALOGUE)

    assert entry.files == (ModelFile(name="model one.gguf", sha256=SHA256.lower()),)
    assert entry.sources == (UrlSource(urls={"model one.gguf": "https://example.org/a/model%20one.gguf?download=1"}),)


def test_the_signature_of_a_url_is_used_and_not_shown() -> None:
    entry = resolve("https://example.org/model.gguf?token=secret", CATALOGUE)

    (source,) = entry.sources
    assert isinstance(source, UrlSource)
    assert source.urls == {"model.gguf": "https://example.org/model.gguf?token=secret"}
    assert entry.name == str(source) == "https://example.org/model.gguf"


def test_plain_http_needs_a_checksum_except_on_this_machine() -> None:
    with pytest.raises(ModelNameError, match="append #sha256="):
        resolve("http://example.org/model.gguf", CATALOGUE)

    assert resolve(f"http://example.org/model.gguf#sha256={SHA256}", CATALOGUE)
    assert resolve("http://127.0.0.1:8080/model.gguf", CATALOGUE)


@pytest.mark.parametrize("url", ["https://u:secret@h/model.gguf", "https://u:secret@h", "https://u:secret@[h/a.gguf"])
def test_a_login_in_a_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ModelNameError) as raised:
        resolve(url, CATALOGUE)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["https://example.org", "https://example.org/", "https:///model.gguf", "https://h/a%2Fb"]
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ModelNameError, match="names no file"):
        resolve(url, CATALOGUE)


def test_a_mistyped_name_gets_the_one_that_was_meant() -> None:
    with pytest.raises(ModelNameError, match=r"did you mean `whisper-tiny\.en`"):
        resolve("whisper-tinyen", CATALOGUE)


def test_an_unlike_name_gets_the_forms_that_names_have() -> None:
    with pytest.raises(ModelNameError, match="corral models list"):
        resolve("zzzzzzzz", CATALOGUE)


def test_a_path_where_nothing_is_gets_refused() -> None:
    with pytest.raises(ModelNameError, match="no model file at"):
        resolve("./there/is/nothing.gguf", CATALOGUE)


@given(st.text(st.characters(), min_size=1, max_size=300))
def test_any_text_is_an_entry_with_a_safe_folder_or_a_clear_error(text: str) -> None:
    for name in (
        text,
        f"hf:{text}",
        f"hf:a/b/{text}",
        f"https://{text}",
        f"https://h/{text}",
        f"./\0{text}",
        f"~{text}",
    ):
        try:
            entry = resolve(name, CATALOGUE)
        except ModelNameError:
            continue
        assert PLAIN.fullmatch(entry.key)
        assert not entry.key.startswith(".")
        assert all(Path(file.name).name == file.name for file in entry.files)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\\b", "a\0b", "a" * 201, "corral-model.json"])
def test_a_file_of_a_model_never_has_a_path_for_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        ModelFile(name=name)
