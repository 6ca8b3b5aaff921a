"""What the failure of an attempt keeps of its error."""

from __future__ import annotations

from corral.engines.comfyui.errors import WorkflowInvalidError
from corral.errors import Problem
from corral.tasks.attempt_run import MOST_PROBLEMS, make_failure
from corral.work import EngineError, FailureScope


def refused(*names: str) -> WorkflowInvalidError:
    return WorkflowInvalidError(
        [
            Problem(code="comfyui.value", what=f"{name} is wrong", where=f"node 4 input {name!r}", hint="set it")
            for name in names
        ]
    )


def test_failure_with_one_problem_keeps_it_as_it_is() -> None:
    failure = make_failure(refused("steps"))

    assert failure.scope is FailureScope.TASK
    assert failure.problem == refused("steps").problems[0]


def test_failure_keeps_every_problem_with_its_place() -> None:
    problem = make_failure(refused("steps", "cfg")).problem

    assert problem.code == "comfyui.workflow_invalid"
    assert problem.what == "2 problems: steps is wrong (node 4 input 'steps'); cfg is wrong (node 4 input 'cfg')"
    assert problem.hint == "set it"


def test_long_list_of_problems_is_cut_and_counted() -> None:
    problem = make_failure(refused(*(f"input{number}" for number in range(MOST_PROBLEMS + 5)))).problem

    assert problem.what.startswith(f"{MOST_PROBLEMS + 5} problems: ")
    assert problem.what.endswith("; and 5 more")


def test_failure_of_an_engine_keeps_place_and_hint() -> None:
    problem = make_failure(EngineError("it broke", where="there", hint="look")).problem

    assert (problem.what, problem.where, problem.hint) == ("it broke", "there", "look")
