"""`run: {preset: ...}` in the cluster file."""

from __future__ import annotations

import pytest

from corral.cluster import ClusterFileError, load

FILE = """
apiVersion: corral/v1
name: home
nodes: [{{name: one}}]
engines: {{{engine}: {{instances: [{{name: desk, node: one, run: {run}}}]}}}}
"""


def read_problem(engine: str, run: str) -> str:
    with pytest.raises(ClusterFileError) as caught:
        load(FILE.format(engine=engine, run=run), filename="c.yaml")
    return str(caught.value)


def test_preset_is_read_with_its_folder_and_arguments() -> None:
    run = "{preset: comfyui, folder: ~/ComfyUI, arguments: [--lowvram]}"

    cluster = load(FILE.format(engine="comfyui", run=run), filename="c.yaml")

    read = cluster.engines["comfyui"].instances[0].run
    assert read is not None
    assert (read.preset, read.command, read.folder, read.arguments) == ("comfyui", (), "~/ComfyUI", ("--lowvram",))


@pytest.mark.parametrize(
    ("engine", "run", "problem", "hint"),
    [
        ("comfyui", "{preset: comfyuu, folder: /x}", "there is no preset 'comfyuu'", "did you mean `comfyui`"),
        ("comfyui", "{preset: comfyui}", "the folder of ComfyUI is not named", "add `folder: ~/ComfyUI`"),
        ("comfyui", "{preset: ollama}", "Ollama is not a server of comfyui", "engines: {ollama: {instances: [...]}}"),
        (
            "ollama",
            "{preset: ollama, command: [ollama]}",
            "starts several things: `preset`, `command`",
            "keep one of them",
        ),
        ("ollama", "{folder: /x}", "does not say what to start", "add `preset: NAME`"),
        ("openai", "{preset: vllm}", "vLLM is started without `MODEL`", "add `arguments: [...]` with `MODEL`"),
    ],
)
def test_preset_that_cannot_be_started_is_a_problem_of_the_file(engine: str, run: str, problem: str, hint: str) -> None:
    report = read_problem(engine, run)

    assert problem in report
    assert hint in report
    assert report.count("error[") == 1
