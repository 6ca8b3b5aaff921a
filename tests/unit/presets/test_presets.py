"""The table of presets, and the command lines of their starts."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from corral.engine_kinds import ENGINES
from corral.presets.catalogue import Fact, Preset, PresetProgramError, build_command, list_presets, list_variables

HOST = "127.0.0.1"
PRESETS = list_presets()


def start(
    name: str, *, folder: str | None = None, arguments: tuple[str, ...] = (), there: Collection[str], gpu: bool = True
) -> tuple[str, ...]:
    return build_command(
        PRESETS[name],
        host=HOST,
        folder=folder,
        arguments=arguments,
        has_gpu=gpu,
        exists=lambda path: path in there or path.endswith("comfy/cli_args.py"),
    )


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_fact_has_its_source_and_version(preset: Preset) -> None:
    facts: tuple[Fact, ...] = (preset.start, preset.listens, preset.ready, preset.unloads)

    assert all(fact.source and fact.version for fact in facts)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_preset_is_spoken_to_by_an_engine_of_the_queue(preset: Preset) -> None:
    engine = ENGINES[preset.engine]

    assert engine.remote
    assert engine.program is not None
    assert preset.listens.port in (engine.program.port, *engine.program.usual_ports)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_preset_listens_on_the_given_address_and_port(preset: Preset) -> None:
    command = build_command(preset, host=HOST, folder="/srv/program", has_gpu=True, exists=lambda _: True)
    words = " ".join((*command, *list_variables(preset, host=HOST).values()))

    assert HOST in words
    assert words.count("{") == words.count("{port}") == 1


def test_comfyui_starts_with_the_environment_of_its_checkout() -> None:
    made = start("comfyui", folder="/srv/ComfyUI", there={"/srv/ComfyUI/venv/bin/python", "python3"})

    assert made[:2] == ("/srv/ComfyUI/venv/bin/python", "main.py")


def test_comfyui_without_an_environment_starts_with_the_interpreter_on_the_path() -> None:
    assert start("comfyui", folder="/srv/ComfyUI", there={"python3"})[0] == "python3"


def test_comfyui_computes_on_the_processor_where_it_has_no_gpu() -> None:
    assert "--cpu" in start("comfyui", folder="/srv/ComfyUI", there={"python3"}, gpu=False)
    assert "--cpu" not in start("comfyui", folder="/srv/ComfyUI", there={"python3"})


def test_model_of_vllm_is_the_word_after_serve() -> None:
    made = start("vllm", there={"vllm"}, arguments=("Qwen/Qwen3-0.6B", "--max-model-len", "4096"))

    assert made[:5] == ("vllm", "serve", "Qwen/Qwen3-0.6B", "--max-model-len", "4096")
    assert made[5] == "--host"


def test_build_in_the_folder_goes_before_the_program_on_the_path() -> None:
    there = {"/srv/llama.cpp/build/bin/llama-server", "llama-server"}

    assert start("llama-server", folder="/srv/llama.cpp", there=there)[0] == "/srv/llama.cpp/build/bin/llama-server"
    assert start("llama-server", there=there)[0] == "llama-server"


def test_arguments_of_the_instance_are_last() -> None:
    made = start("comfyui", folder="/srv/ComfyUI/", there={"python3"}, arguments=("--lowvram",))

    assert made[-1] == "--lowvram"


def test_ollama_has_its_address_in_a_variable() -> None:
    assert start("ollama", there={"ollama"}) == ("ollama", "serve")
    assert list_variables(PRESETS["ollama"], host=HOST) == {"OLLAMA_HOST": "127.0.0.1:{port}"}


def test_folder_without_the_program_is_named() -> None:
    with pytest.raises(PresetProgramError, match=r"ComfyUI is not in /x: there is no comfy/cli_args\.py"):
        build_command(PRESETS["comfyui"], host=HOST, folder="/x", has_gpu=True, exists=lambda path: path == "python3")


def test_program_that_is_not_on_the_machine_is_named_with_every_place() -> None:
    with pytest.raises(PresetProgramError, match=r"ComfyUI .*/x/venv/bin/python, no /x/\.venv/bin/python, no python3"):
        start("comfyui", folder="/x", there=())


def test_programs_that_are_given_their_lanes_start_with_as_many_as_the_instance_has() -> None:
    preset, own = PRESETS["llama-server"], ("--model", "m.gguf")
    with_lanes = build_command(preset, host=HOST, arguments=own, lanes=4, has_gpu=True, exists=lambda _: True)
    without = build_command(preset, host=HOST, has_gpu=True, exists=lambda _: True)

    assert " ".join(with_lanes).endswith("--parallel 4 --model m.gguf")
    assert "--parallel" not in without
    assert list_variables(PRESETS["ollama"], host=HOST, lanes=2)["OLLAMA_NUM_PARALLEL"] == "2"
