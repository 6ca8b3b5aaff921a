"""What a task may say to a local engine, and how it hears what is wrong."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.engine_kinds import ENGINES
from corral.engines.inputs import check_inputs, check_options, load_inputs, load_options, read_options
from corral.engines.llama.inputs import LlamaOptions
from corral.engines.schema import EngineInputs, EngineOptions
from corral.errors import ProblemsError

LOCAL = [kind for kind in ENGINES.values() if not kind.remote]


def facts(engine: str, **inputs: Any) -> dict[str | None, str | None]:
    return {problem.where: problem.hint or problem.what for problem in check_inputs(engine, inputs)}


def test_all_problems_are_reported_at_once_with_their_paths() -> None:
    hints = facts("llama", max_token=3, temperature=9, messages=[{"role": "wizard"}])

    assert hints == {
        "inputs.max_token": "did you mean `max_tokens`?",
        "inputs.temperature": "input should be less than or equal to 5; seen: 9",
        "inputs.messages[0].role": "input should be 'system', 'user', 'assistant' or 'tool'; seen: 'wizard'",
        "inputs.messages[0].content": "give it a value",
    }


def test_conflict_between_fields_is_reported_beside_a_wrong_field() -> None:
    hints = facts("llama", prompt="Hi", messages=[{"role": "user", "content": "Hi"}], max_tokens=0)

    assert set(hints) == {"inputs", "inputs.max_tokens"}


def test_each_of_many_unknown_names_is_named_and_the_first_hundred_have_a_hint() -> None:
    reported = check_inputs("llama", {"prompt": "p", **{f"max_token{number}": 0 for number in range(150)}})

    assert [problem.where for problem in reported] == [f"inputs.max_token{number}" for number in range(150)]
    assert [problem.hint for problem in reported] == ["did you mean `max_tokens`?"] * 100 + [None] * 50


def test_unknown_engine_is_met_with_the_nearest_name() -> None:
    (problem,) = check_inputs("whispr", {})

    assert (problem.where, problem.hint) == ("engine", "did you mean `whisper`?")


@pytest.mark.parametrize("value", [True, "7", 1.5, -1, 2**40])
def test_seed_that_is_not_a_seed_is_refused(value: object) -> None:
    assert list(facts("llama", prompt="Hi", seed=value)) == ["inputs.seed"]


@pytest.mark.parametrize("path", ["/etc", "../other", "a/../../b", "a\0b"])
def test_path_that_leaves_the_folder_is_refused(path: str) -> None:
    assert len(check_inputs("command", {"argv": ["true"], "cwd": path, "outputs": [path]})) == 2


def test_values_of_the_environment_are_not_repeated() -> None:
    (problem,) = check_inputs("command", {"argv": ["true"], "env": {"TOKEN": ["secret-word"]}})

    assert "secret-word" not in str(problem)


def test_text_without_a_word_cannot_be_spoken() -> None:
    assert list(facts("piper", text=" ... ")) == ["inputs.text"]


def test_options_are_checked_in_the_spelling_of_the_cluster_file() -> None:
    (problem,) = check_options("llama", {"contextsize": 2048})

    assert (problem.where, problem.hint) == ("options.contextsize", "did you mean `contextSize`?")
    assert read_options(LlamaOptions, "llama", {"contextSize": 2048}).context_size == 2048
    with pytest.raises(ProblemsError):
        read_options(LlamaOptions, "llama", {"contextSize": 1})


@pytest.mark.parametrize("kind", ENGINES.values(), ids=lambda kind: kind.name)
def test_every_engine_names_models_that_exist_and_describe_their_fields(kind: Any) -> None:
    assert issubclass(load_inputs(kind), EngineInputs)
    assert issubclass(load_options(kind), EngineOptions)
    assert all(field.description for field in load_inputs(kind).model_fields.values())
    assert all(field.description for field in load_options(kind).model_fields.values())


@given(
    kind=st.sampled_from(LOCAL),
    inputs=st.dictionaries(
        st.sampled_from(["prompt", "messages", "argv", "env", "outputs", "cwd", "text", "seconds", "seed", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda children: (
                st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
            ),
            max_leaves=5,
        ),
    ),
)
def test_no_json_makes_the_check_fail(kind: Any, inputs: dict[str, Any]) -> None:
    assert all(problem.code.startswith("input.") for problem in check_inputs(kind.name, inputs))


def test_registry_is_read_without_pydantic() -> None:
    probe = "import sys, corral.engines.inputs; sys.exit('pydantic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_text_without_anything_to_say_is_refused_before_piper_sees_it() -> None:
    assert "inputs.text" in facts("piper", text="_ ... _")
    assert facts("piper", text="snake_case") == {}
