"""Changes as they are written: words of a command line, and a changes file with the same words."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.planning.changes import ChangesError, GpuAddress, parse_file, parse_options
from corral.planning.changes.values import (
    AddGpu,
    AddNode,
    LimitPower,
    MoveGpu,
    RemoveGpu,
    ReplaceGpu,
    SetMemory,
    SetPsu,
)

FILE = """\
# the plan for spring
- replace: {hydra-compute/gpu1: RTX 5070 Ti}
- add: {hydra-ai: [RTX 4090, RTX 4090]}
- remove: hydra-ai/gpu1
- move: {hydra-ai/gpu0: hydra-compute}
- add-node: {name: hydra-next, gpus: [RTX 5090], psu: 1200 W, memory: 64Gi}
- limit: {hydra-compute: 250, hydra-ai/gpu0: 450}
- psu: {hydra-compute: 1200}
  memory: {hydra-compute: 128Gi}
"""


def gpu(node: str, index: int) -> GpuAddress:
    return GpuAddress(node=node, index=index)


def test_every_word_of_the_command_line_is_a_change() -> None:
    asked = [
        ("replace", "a/gpu1=RTX 5070 Ti"),
        ("add", "a=RTX 4090"),
        ("remove", "a/gpu0"),
        ("move", "a/gpu2=b"),
        ("add-node", "c=RTX 4090, RTX 3090"),
        ("limit", "a=250"),
        ("limit", "a/gpu1=200 W"),
        ("psu", "a=1000"),
        ("memory", "a=64Gi"),
    ]

    assert parse_options(asked) == (
        ReplaceGpu(where="--replace a/gpu1", gpu=gpu("a", 1), model="RTX 5070 Ti"),
        AddGpu(where="--add a", node="a", model="RTX 4090"),
        RemoveGpu(where="--remove a/gpu0", gpu=gpu("a", 0)),
        MoveGpu(where="--move a/gpu2", gpu=gpu("a", 2), to="b"),
        AddNode(where="--add-node c", name="c", models=("RTX 4090", "RTX 3090")),
        LimitPower(where="--limit a", node="a", index=None, watts=250),
        LimitPower(where="--limit a/gpu1", node="a", index=1, watts=200),
        SetPsu(where="--psu a", node="a", watts=1000),
        SetMemory(where="--memory a", node="a", memory=64 * 2**30),
    )


def test_a_changes_file_has_the_same_words_and_each_change_its_place() -> None:
    changes = parse_file(FILE, filename="changes.yaml")

    assert changes[0] == ReplaceGpu(where="changes.yaml:2:13", gpu=gpu("hydra-compute", 1), model="RTX 5070 Ti")
    assert [type(change).__name__ for change in changes] == [
        "ReplaceGpu",
        *["AddGpu"] * 2,
        "RemoveGpu",
        "MoveGpu",
        "AddNode",
        *["LimitPower"] * 2,
        "SetPsu",
        "SetMemory",
    ]
    new = changes[5]
    assert isinstance(new, AddNode)
    assert (new.name, new.models, new.psu_w, new.memory) == ("hydra-next", ("RTX 5090",), 1200, 64 * 2**30)


def test_all_problems_of_a_changes_file_are_told_by_line_and_column() -> None:
    text = (
        "- replce: {a/gpu0: RTX 5090}\n- replace: {a: RTX 5090}\n- 3\n"
        "- limit: {a: much}\n- add-node: {nam: x}\n- psu: a\n"
    )

    with pytest.raises(ChangesError) as caught:
        parse_file(text, filename="changes.yaml")

    assert [(problem.code, problem.where) for problem in caught.value.problems] == [
        ("changes.unknown_word", "changes.yaml:1:12"),
        ("changes.bad_value", "changes.yaml:2:13"),
        ("changes.bad_value", "changes.yaml:3:3"),
        ("changes.bad_value", "changes.yaml:4:11"),
        ("changes.bad_value", "changes.yaml:5:3"),
        ("changes.bad_value", "changes.yaml:6:3"),
    ]
    assert caught.value.problems[0].hint == "did you mean `replace`?"


@pytest.mark.parametrize("text", ["", "[]", "a: b", "3", "- [", "- a: &x [*x]", "- add: {a: b, a: c}"])
def test_what_is_no_changes_file_is_refused_with_a_place(text: str) -> None:
    with pytest.raises(ChangesError) as caught:
        parse_file(text, filename="changes.yaml")

    assert all((problem.where or "").startswith("changes.yaml:") for problem in caught.value.problems)
    assert all(problem.code.startswith("changes.") for problem in caught.value.problems)


@given(st.text(max_size=60))
def test_whatever_stands_in_a_changes_file_only_problems_come_of_it(text: str) -> None:
    with contextlib.suppress(ChangesError):
        parse_file(text, filename="changes.yaml")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("replace", "a/gpu0"),
        ("replace", "a=RTX 5090"),
        ("replace", "a/gpu0="),
        ("remove", "a/gpu0=RTX 5090"),
        ("remove", "a/0"),
        ("move", "a/gpu0"),
        ("add", "a"),
        ("add", "a b=RTX 5090"),
        ("limit", "a=0"),
        ("limit", "a=-5"),
        ("limit", "a=999999"),
        ("limit", "a=250.5"),
        ("psu", "a/gpu0=3"),
        ("memory", "a=much"),
        ("memory", "a"),
        ("memory", "a=0"),
        ("add-node", "=RTX 5090"),
    ],
)
def test_a_word_with_the_wrong_thing_behind_it_is_refused_with_the_value_seen(word: str, text: str) -> None:
    with pytest.raises(ChangesError) as caught:
        parse_options([(word, text), ("psu", "a=1000")])

    (problem,) = caught.value.problems
    assert problem.code == "changes.bad_value"
    assert problem.hint
