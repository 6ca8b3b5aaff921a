"""Servers that Corral runs, and programs that go first, in a cluster file: what they become, and each mistake."""

from __future__ import annotations

from datetime import timedelta
from textwrap import dedent

import pytest

from corral.cluster.run_values import Run
from corral.cluster.yields import OthersUse, YieldTo
from doubles.cluster_texts import HEAD, NODES, only_problem, read


def test_every_setting_of_a_server_that_corral_runs_reaches_the_values() -> None:
    cluster = read(
        NODES
        + dedent("""\
        engines:
          comfyui:
            instances:
              - name: all
                node: one
                run:
                  command: python main.py --port '{port}'
                  arguments: [--lowvram]
                  folder: ~/ComfyUI
                  env: {LOG_LEVEL: debug}
                  envFrom: {HF_TOKEN: HUGGING_FACE}
                  port: 8188
                  healthPath: /ready
                  readyWithin: 2m
                  idle: never
              - {name: least, node: one, run: {command: [comfy, launch], always: true}}
        """)
    )
    everything, least = (instance.run for instance in cluster.engines["comfyui"].instances)
    assert everything == Run(
        command=("python", "main.py", "--port", "{port}"),
        arguments=("--lowvram",),
        folder="~/ComfyUI",
        env={"LOG_LEVEL": "debug"},
        env_from={"HF_TOKEN": "HUGGING_FACE"},
        port=8188,
        health_path="/ready",
        ready_within=timedelta(minutes=2),
        idle=None,
    )
    assert least == Run(command=("comfy", "launch"), always=True)
    assert all(instance.url is None for instance in cluster.engines["comfyui"].instances)


def test_every_setting_of_programs_that_go_first_reaches_the_values() -> None:
    cluster = read(
        HEAD
        + dedent("""\
        nodes:
          - name: a
            gpus:
              - yieldTo:
                  programs: [steam, game.x86_64]
                  users: [eva]
                  others: {above: 12.5%, for: 1m}
                  interruptAfter: 30s
                  quiet: 10m
              - yieldTo: {others: {above: 20%}}
        """)
    )

    every, least = (gpu.yield_to for gpu in cluster.nodes[0].gpus or ())

    assert every == YieldTo(
        programs=("steam", "game.x86_64"),
        users=("eva",),
        others=OthersUse(above=0.125, lasting=timedelta(minutes=1)),
        interrupt_after=timedelta(seconds=30),
        quiet=timedelta(minutes=10),
    )
    assert least == YieldTo(others=OthersUse(above=0.2))


@pytest.mark.parametrize(
    ("engines", "code", "where", "said", "hint"),
    [
        ("engines: {ollama: {instances: [{name: i}]}}", "missing_key", "6:32", "neither `url` nor `run`", "add `url`"),
        ("engines: {ollama: {instances: [{name: i, ulr: 'http://h'}]}}", "unknown_key", "6:42", "`ulr`", "`url`"),
        (
            "engines: {ollama: {instances: [{name: i, url: 'http://h', run: {command: a}}]}}",
            "conflict",
            "6:64",
            "both `url` and `run`",
            "keep `url`",
        ),
        ("engines: {ollama: {instances: [{name: i, run: {}}]}}", "missing_key", "6:47", "what to start", "`command:"),
        ("engines: {ollama: {instances: [{name: i, run: {command: []}}]}}", "bad_value", "6:57", "at least 1", "at"),
        ("engines: {ollama: {instances: [{name: i, run: {command: 'a \"b'}}]}}", "bad_value", "6:57", "quotes", "list"),
        (
            r'engines: {ollama: {instances: [{name: i, run: {command: [a, "b\0"]}}]}}',
            "bad_value",
            "6:61",
            "an argument",
            "without NUL",
        ),
        (
            "engines: {ollama: {instances: [{name: i, run: {command: a, env: {'B=C': d}}}]}}",
            "bad_value",
            "6:66",
            "a variable's name: 'B=C'",
            "the name alone",
        ),
        (
            "engines: {ollama: {instances: [{name: i, run: {command: a, folder: b/c}}]}}",
            "bad_value",
            "6:68",
            "absolute path: 'b/c'",
            "`/` or `~/`",
        ),
        (
            "engines: {ollama: {instances: [{name: i, run: {command: a, readyWithin: 0s}}]}}",
            "bad_value",
            "6:73",
            "within no time",
            "such as 5m",
        ),
        (
            "engines: {ollama: {instances: [{name: i, run: {container: {image: --privileged}}}]}}",
            "bad_value",
            "6:67",
            "of an image or a service: '--privileged'",
            "options have no place",
        ),
        (
            "engines: {ollama: {instances: [{name: i, run: {systemd: ../a.service, port: 9}}]}}",
            "bad_value",
            "6:57",
            "a unit's name: '../a.service'",
            "comfyui.service",
        ),
        (
            "engines: {ollama: {instances: [{name: i, run: {command: a, container: {image: a}}}]}}",
            "conflict",
            "6:71",
            "starts several things: `command`, `container`",
            "keep one",
        ),
        ("engines: {ollama: {instances: [{name: i, run: {systemd: a}}]}}", "conflict", "6:47", "port", "add `port`"),
        (
            "engines: {ollama: {instances: [{name: i, run: {systemd: a, port: 1, env: {A: b}}}]}}",
            "conflict",
            "6:74",
            "`env` of a unit is in its own file",
            "write it there",
        ),
        (
            "engines: {ollama: {instances: [{name: i, run: {compose: {file: a, service: b}, arguments: [c]}}]}}",
            "conflict",
            "6:91",
            "`arguments` of a service",
            "write it there",
        ),
        (
            "engines: {openai: {instances: [{name: i, run: {container: {image: a}}}]}}",
            "conflict",
            "6:59",
            "the port within a container of openai is not known",
            "`port` to `container`",
        ),
        (
            "engines: {ollama: {instances: [{name: i, run: {command: a, always: true, idle: 5m}}]}}",
            "conflict",
            "6:80",
            "never idle",
            "keep one",
        ),
        (
            "engines: {ollama: {instances: [{name: i, run: {command: a, port: 9}},"
            " {name: j, run: {command: a, port: 9}}]}}",
            "duplicate_name",
            "6:105",
            "'9'",
            "own port",
        ),
    ],
)
def test_a_mistake_is_explained_at_its_place(engines: str, code: str, where: str, said: str, hint: str) -> None:
    problem = only_problem(NODES + engines + "\n")

    assert problem.code == f"cluster.{code}"
    assert (problem.where or "").startswith(f"cluster.yaml:{where}")
    assert said in problem.what
    assert hint in (problem.hint or "")


def test_secret_for_a_server_that_corral_runs_comes_from_the_environment() -> None:
    run = "run: {command: a, env: {HF_TOKEN: hf_abcdefghijk}}"
    problem = only_problem(f"{NODES}engines: {{ollama: {{instances: [{{name: i, {run}}}]}}}}\n")

    assert problem.code == "cluster.secret"
    assert problem.hint == "write `envFrom: {HF_TOKEN: HF_TOKEN}` instead, and set HF_TOKEN for the Corral server"
    assert "hf_abc" not in str(problem)
