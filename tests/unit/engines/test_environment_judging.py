"""Whether the libraries of an engine run on the GPUs of a machine."""

from __future__ import annotations

import pytest

from corral.engine_facts import Kernels
from corral.engine_kinds import PIPER, WHISPER
from corral.engines.environments.finding import Environments
from corral.engines.environments.judging import Card, find_problem, runs_on

CPU, CUDA = WHISPER.environments
OLD = Card(name="NVIDIA GeForce GTX 970", capability=(5, 2))
BLACKWELL = Card(name="NVIDIA GeForce RTX 5090", capability=(12, 0))
UNKNOWN = Card(name="GPU 0", capability=None)


@pytest.mark.parametrize(
    ("card", "has_intermediate", "runs"),
    [
        ((5, 2), True, False),
        ((5, 3), True, True),
        ((8, 6), False, True),
        ((12, 0), True, True),
        ((12, 0), False, False),
        (None, True, None),
    ],
)
def test_code_runs_from_its_oldest_card_on_and_on_newer_ones_if_the_driver_can_compile_it(
    card: tuple[int, int] | None, has_intermediate: bool, runs: bool | None
) -> None:
    kernels = Kernels(library="x", oldest=(5, 3), newest=(8, 6), has_intermediate=has_intermediate, source="a test")

    assert runs_on(kernels, Card(name="card", capability=card)) is runs


def test_a_card_that_is_too_old_is_named_with_what_the_library_needs() -> None:
    problem = find_problem(WHISPER, CUDA, [OLD, BLACKWELL], Environments())

    assert problem is not None
    assert "CTranslate2 does not run on NVIDIA GeForce GTX 970 (5.2)" in problem.what
    assert "compute capability 5.3" in problem.what


def test_libraries_for_the_processor_are_not_enough_where_a_card_could_compute() -> None:
    problem = find_problem(WHISPER, CPU, [BLACKWELL], Environments())

    assert problem is not None
    assert problem.fix == "corral engines install whisper --variant cuda"


@pytest.mark.parametrize(
    ("kind", "environment", "cards"),
    [
        (WHISPER, CUDA, [BLACKWELL]),
        (WHISPER, CUDA, [UNKNOWN]),
        (WHISPER, CPU, [OLD]),
        (WHISPER, CPU, [UNKNOWN]),
        (WHISPER, CPU, []),
        (PIPER, PIPER.environments[0], [BLACKWELL]),
    ],
)
def test_nothing_is_wrong_where_all_is_well_or_unknown(kind: object, environment: object, cards: object) -> None:
    assert find_problem(kind, environment, cards, Environments()) is None  # type: ignore[arg-type]  # the rows are of these types
