"""Which llama.cpp serves a slot, with which arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.engines.llama.inputs import LlamaOptions
from corral.engines.llama.program import (
    BUILTIN,
    Installed,
    Loading,
    choose_program,
    choose_threads,
    list_arguments,
    make_environment,
)
from corral.work import EngineUnavailableError

PATH = {"llama-server": "/usr/bin/llama-server", "/opt/mine": "/opt/mine"}


def options(**given: Any) -> LlamaOptions:
    return LlamaOptions.model_validate(given)


def installed(*names: str, builtin: bool = True) -> Installed:
    return Installed(
        find_program=lambda name: PATH.get(name) if name in names else None, builtin=BUILTIN if builtin else None
    )


def test_gpu_takes_the_server_of_the_user_and_a_processor_the_locked_one() -> None:
    here = installed("llama-server")

    assert choose_program(options(), here, gpu=True).command == ("/usr/bin/llama-server",)
    assert choose_program(options(), here, gpu=False) == BUILTIN


def test_locked_build_serves_a_gpu_where_there_is_no_other() -> None:
    assert choose_program(options(), installed(), gpu=True) == BUILTIN


def test_server_of_the_user_serves_a_processor_where_there_is_no_other() -> None:
    assert choose_program(options(), installed("llama-server", builtin=False), gpu=False).command == (
        "/usr/bin/llama-server",
    )


@pytest.mark.parametrize("gpu", [True, False])
def test_binary_of_the_cluster_file_goes_first(gpu: bool) -> None:
    here = installed("llama-server", "/opt/mine")

    assert choose_program(options(binary="/opt/mine"), here, gpu=gpu).command == ("/opt/mine",)


def test_binary_that_is_not_there_is_an_error_and_no_other_is_taken() -> None:
    with pytest.raises(EngineUnavailableError, match=r"'/opt/absent' as llama's binary"):
        choose_program(options(binary="/opt/absent"), installed("llama-server"), gpu=True)


def test_machine_without_any_build_gets_the_command_that_installs_one() -> None:
    with pytest.raises(EngineUnavailableError) as raised:
        choose_program(options(), installed(builtin=False), gpu=False)

    assert raised.value.hint == "corral engines install llama"


def arguments(*, gpu: bool = True, loading: Loading | None = None, lanes: int = 1, **given: Any) -> tuple[str, ...]:
    loading = loading or Loading(model=Path("m.gguf"))
    return list_arguments(loading, options(**given), name="m", lanes=lanes, gpu=gpu, threads=3, port=8081)


def value_of(name: str, listed: tuple[str, ...]) -> str:
    return listed[listed.index(name) + 1]


def test_all_layers_go_to_the_gpu_unless_fewer_are_wanted_and_none_on_a_processor() -> None:
    assert int(value_of("--n-gpu-layers", arguments())) > 500
    assert value_of("--n-gpu-layers", arguments(gpuLayers=7)) == "7"
    on_processor = arguments(gpu=False, gpuLayers=7)
    assert (value_of("--n-gpu-layers", on_processor), value_of("--device", on_processor)) == ("0", "none")


def test_server_listens_on_this_machine_alone_at_its_port() -> None:
    assert (value_of("--host", arguments()), value_of("--port", arguments())) == ("127.0.0.1", "8081")


def test_files_of_a_loading_are_named() -> None:
    loading = Loading(model=Path("m.gguf"), mmproj=Path("eyes.gguf"), loras=(Path("a.gguf"), Path("b.gguf")))

    listed = arguments(loading=loading)

    assert value_of("--mmproj", listed) == "eyes.gguf"
    assert [listed[at + 1] for at, word in enumerate(listed) if word == "--lora"] == ["a.gguf", "b.gguf"]


def test_text_to_embed_is_computed_in_one_batch() -> None:
    listed = arguments(loading=Loading(model=Path("m.gguf"), embeds=True, pooling="mean"), contextSize=2048)

    assert "--embeddings" in listed
    assert value_of("--ubatch-size", listed) == value_of("--ctx-size", listed) == "2048"
    assert value_of("--pooling", listed) == "mean"


def test_key_is_in_the_environment_and_never_in_the_arguments() -> None:
    assert make_environment({"HOME": "/root"}, key="sesame")["LLAMA_API_KEY"] == "sesame"
    assert not any("key" in word for word in arguments())


@pytest.mark.parametrize(
    ("wanted", "share", "cores", "threads"),
    [(None, 8, 8, 7), (None, 4, 8, 4), (None, 2, 2, 1), (None, 1, 1, 1), (None, 6, None, 6), (12, 4, 8, 12)],
)
def test_threads_leave_a_core_to_the_rest_of_the_machine(
    wanted: int | None, share: int, cores: int | None, threads: int
) -> None:
    assert choose_threads(wanted, share=share, cores=cores) == threads


def test_every_lane_has_the_context_of_the_options() -> None:
    listed = arguments(lanes=4, contextSize=512)

    assert value_of("--parallel", listed) == "4"
    assert value_of("--ctx-size", listed) == "2048"


def test_batch_of_texts_to_embed_is_divided_by_the_lanes_without_a_rest() -> None:
    listed = arguments(loading=Loading(model=Path("m.gguf"), embeds=True), lanes=3, contextSize=1024)

    assert value_of("--batch-size", listed) == value_of("--ubatch-size", listed) == "1026"
