"""A submission is checked as a whole, and every problem is told at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from builders import a_submission, a_task
from corral.errors import Problem
from corral.tasks.submission_checks import (
    MAX_INPUTS_BYTES,
    MAX_TOTAL_NEEDS,
    SubmissionError,
    SubmissionRules,
    check,
    compute_digest,
    order_tasks,
)
from corral.tasks.values import OutputRef, Submission, TaskSpec


def nothing_wrong(task: TaskSpec) -> Iterable[Problem]:
    return ()


RULES = SubmissionRules(
    queues={"default", "night"},
    nodes={"hydra", "desk"},
    known_nodes={"hydra", "desk", "asleep"},
    check_engine=nothing_wrong,
)


def codes(submission: Submission, rules: SubmissionRules = RULES) -> list[str]:
    with pytest.raises(SubmissionError) as caught:
        check(submission, rules)
    return [problem.code for problem in caught.value.problems]


def test_every_problem_is_told_at_once() -> None:
    reported = codes(
        a_submission(
            a_task("a", queue="nigth"), a_task("a"), a_task("", needs=("x",)), a_task("c", inputs={"t": "x" * 2**21})
        )
    )
    assert reported == [
        "submission.duplicate_name",
        "submission.bad_name",
        "submission.unknown_queue",
        "submission.unknown_needs",
        "submission.inputs_too_large",
    ]


def test_misspelt_queue_gets_a_suggestion() -> None:
    with pytest.raises(SubmissionError) as caught:
        check(a_submission(a_task("a", queue="nigth")), RULES)
    assert caught.value.problems[0].hint == "did you mean `night`?"


def test_a_node_that_no_slot_is_on_is_refused_with_the_names_of_those_that_are() -> None:
    with pytest.raises(SubmissionError) as caught:
        check(a_submission(a_task("a", node="hydre"), a_task("b", prefer_node="x"), a_task("c", node="asleep")), RULES)
    assert [(problem.where, problem.what, problem.hint) for problem in caught.value.problems] == [
        ("tasks[0] (a).node", "no slot is on node 'hydre'; nodes with slots: desk, hydra", "did you mean `hydra`?"),
        (
            "tasks[1] (b).prefer_node",
            "no slot is on node 'x'; nodes with slots: desk, hydra",
            "name one of them, or leave it out",
        ),
        (
            "tasks[2] (c).node",
            "no slot is on node 'asleep'; nodes with slots: desk, hydra",
            "name one of them, or leave it out",
        ),
    ]


def test_a_wish_for_a_node_of_the_cluster_file_is_accepted_while_no_slot_is_on_it() -> None:
    check(a_submission(a_task("a", prefer_node="asleep"), a_task("b", node="hydra", prefer_node="hydra")), RULES)


def test_a_task_cannot_prefer_another_node_than_it_must_run_on() -> None:
    assert codes(a_submission(a_task("a", node="hydra", prefer_node="desk"))) == ["submission.contradicting_nodes"]


def test_circle_of_needs_is_named() -> None:
    circle = a_submission(a_task("a", needs=("b",)), a_task("b", needs=("c",)), a_task("c", needs=("a",)))
    with pytest.raises(SubmissionError, match=r"in a circle: .* -> "):
        check(circle, RULES)


def test_task_that_needs_itself_is_refused() -> None:
    assert codes(a_submission(a_task("a", needs=("a",)))) == ["submission.needs_itself"]


def test_file_of_another_task_makes_it_a_need() -> None:
    taker = a_task("b", files={"in": OutputRef("a", "x.wav")})
    assert [task.name for task in order_tasks((taker, a_task("a")))] == ["a", "b"]


def test_engines_complaints_carry_the_task_and_field() -> None:
    def complain(task: TaskSpec) -> Iterable[Problem]:
        return (Problem(code="engine.inputs", what="is negative", where="inputs.seed"),)

    with pytest.raises(SubmissionError) as caught:
        check(a_submission(a_task("a")), replace(RULES, check_engine=complain))
    assert caught.value.problems[0].where == "tasks[0] (a).inputs.seed"


def test_empty_submission_is_refused() -> None:
    assert codes(Submission(owner="ada", tasks=())) == ["submission.empty"]


def test_inputs_up_to_the_bound_are_accepted() -> None:
    check(a_submission(a_task("a", inputs={"t": "x" * (MAX_INPUTS_BYTES - 10)})), RULES)


def test_digest_is_equal_exactly_for_equal_submissions() -> None:
    assert compute_digest(a_submission(a_task("a"))) == compute_digest(a_submission(a_task("a"), owner="bob"))
    assert compute_digest(a_submission(a_task("a"))) != compute_digest(a_submission(a_task("a", timeout_s=5.0)))


def test_what_tasks_have_in_common_counts_for_each_of_them() -> None:
    common = {"text": "x" * (900 * 1024)}
    tasks = [a_task(f"{number}", inputs=common) for number in range(1000)]
    with pytest.raises(SubmissionError, match="defaults included"):
        check(a_submission(*tasks), RULES)


def test_needs_of_a_whole_submission_are_bounded() -> None:
    first = [a_task(f"first-{number}") for number in range(400)]
    names = tuple(task.name for task in first)
    rest = [a_task(f"{number}", needs=names) for number in range(MAX_TOTAL_NEEDS // 400 + 1)]
    with pytest.raises(SubmissionError, match=f"more than {MAX_TOTAL_NEEDS} needs"):
        check(a_submission(*first, *rest), RULES)
