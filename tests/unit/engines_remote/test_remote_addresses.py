"""Addresses and the registry of the engines that are reached by URL."""

import pytest

from corral.engine_kinds import ENGINES
from corral.engines.building import build_remote
from corral.engines.narrowing import strip_credentials
from corral.engines.ollama.names import complete_name
from corral.errors import ProblemsError


def test_credentials_of_a_url_are_never_shown() -> None:
    assert strip_credentials("https://me:secret@gpu:8188/comfy") == "https://gpu:8188/comfy"
    assert strip_credentials("http://[::1]:8188") == "http://[::1]:8188"


@pytest.mark.parametrize("name", [name for name, kind in ENGINES.items() if kind.remote])
def test_every_engine_that_is_not_local_is_built_from_its_url(name: str) -> None:
    assert build_remote(name, url="http://127.0.0.1:1", options={}).name == name


def test_wrong_options_are_refused_by_their_names_in_the_file() -> None:
    with pytest.raises(ProblemsError, match="did you mean `contextSize`"):
        build_remote("ollama", url="http://127.0.0.1:1", options={"contextsize": 4096})


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("llama3.2:3b", "llama3.2:3b"),
        ("Llama3.2:3B", "llama3.2:3b"),
        ("library/llama3.2", "llama3.2:latest"),
        ("registry.ollama.ai/library/llama3.2:3b", "llama3.2:3b"),
        ("registry.ollama.ai/me/mine", "me/mine:latest"),
        ("hf.co/Me/Mine-GGUF:Q4_K_M", "hf.co/me/mine-gguf:q4_k_m"),
        ("me/mine", "me/mine:latest"),
        ("registry:5000/me/mine", "registry:5000/me/mine:latest"),
    ],
)
def test_names_are_completed_as_ollama_does(name: str, full: str) -> None:
    assert complete_name(name) == full
