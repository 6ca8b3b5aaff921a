"""Integer programs for HiGHS: columns and rows in, values and a proven bound out.

Deterministic: one thread, a fixed seed, and limits in nodes of the search tree, never in seconds. The same program has
the same answer on a slow machine and on a fast one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from corral.errors import CorralError, Kind

if TYPE_CHECKING:
    from highspy import Highs

_SEED = 20
"""Any number would do; it is fixed so that ties are broken in the same way every time."""
_INFINITE = float("inf")


class SolverError(CorralError):
    """HiGHS did not answer a program that always has an answer."""

    code: ClassVar[str] = "plan.solver"
    kind: ClassVar[Kind] = Kind.BUG


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to search."""

    nodes: int
    """Nodes of the search tree, at most."""
    gap: float
    """The part of the objective that can be given up."""
    step: float
    """Sums that differ by less than this count as equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The best values that were found."""

    values: tuple[int, ...]
    objective: float
    bound: float
    """No solution has a larger objective (a smaller one, where it was minimised)."""


Floor = tuple[Mapping[int, float], float]
"""A sum and what it must reach."""


class Program:
    """Columns that are whole numbers from 0 up, and rows that bound sums of them."""

    def __init__(self) -> None:
        self._upper: list[float] = []
        self._rows: list[tuple[float, float, Mapping[int, float]]] = []

    def add_column(self, most: float) -> int:
        """Add a column; returns its number."""
        self._upper.append(most)
        return len(self._upper) - 1

    def bound_above(self, terms: Mapping[int, float], limit: float) -> None:
        """Bound a sum from above."""
        if terms:
            self._rows.append((-_INFINITE, limit, terms))

    def bound_below(self, terms: Mapping[int, float], limit: float) -> None:
        """Bound a sum from below."""
        if terms:
            self._rows.append((limit, _INFINITE, terms))

    def fix_sum(self, terms: Mapping[int, float], value: float) -> None:
        """Fix a sum."""
        if terms:
            self._rows.append((value, value, terms))

    def maximise(self, costs: Mapping[int, float], effort: Effort, floors: Sequence[Floor] = ()) -> Answer:
        """Find the largest sum, with other sums at least so large. Raises: SolverError."""
        if not self._upper:
            return Answer(values=(), objective=0.0, bound=0.0)
        highs = _start_highs(effort)
        rows = len(self._rows)
        for terms, limit in floors:
            self.bound_below(terms, limit)
        self._pass_to(highs, {column: -cost for column, cost in costs.items()})  # HiGHS minimises
        del self._rows[rows:]
        highs.run()
        solution, info = highs.getSolution(), highs.getInfo()
        if len(solution.col_value) != len(self._upper) or not solution.value_valid:
            raise SolverError(f"HiGHS ended with {highs.modelStatusToString(highs.getModelStatus())}")
        return Answer(
            values=tuple(round(value) for value in solution.col_value),
            objective=-info.objective_function_value,
            bound=-info.mip_dual_bound,
        )

    def _pass_to(self, highs: Highs, costs: Mapping[int, float]) -> None:
        import highspy
        import numpy as np

        starts, indexes, coefficients = self._make_matrix()
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(self._upper), len(self._rows)
        model.col_cost_ = np.array([costs.get(column, 0.0) for column in range(len(self._upper))], dtype=np.double)
        model.col_lower_ = np.zeros(len(self._upper))
        model.col_upper_ = np.array(self._upper, dtype=np.double)
        model.row_lower_ = np.array([low for low, _, _ in self._rows], dtype=np.double)
        model.row_upper_ = np.array([high for _, high, _ in self._rows], dtype=np.double)
        model.integrality_ = [highspy.HighsVarType.kInteger] * len(self._upper)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.array(starts, dtype=np.int32)
        model.a_matrix_.index_ = np.array(indexes, dtype=np.int32)
        model.a_matrix_.value_ = np.array(coefficients, dtype=np.double)
        highs.passModel(model)

    def _make_matrix(self) -> tuple[Sequence[int], Sequence[int], Sequence[float]]:
        starts, indexes, coefficients = [0], list[int](), list[float]()
        for _, _, terms in self._rows:
            indexes += terms.keys()
            coefficients += terms.values()
            starts.append(len(indexes))
        return starts, indexes, coefficients


def _start_highs(effort: Effort) -> Highs:
    import highspy  # here: it takes a third of a second to load, and most plans of small clusters need no search

    highs = highspy.Highs()
    for option, value in {
        "output_flag": False,
        "threads": 1,
        "random_seed": _SEED,
        "mip_rel_gap": effort.gap,
        "mip_abs_gap": effort.step,
        "mip_max_nodes": effort.nodes,
    }.items():
        highs.setOptionValue(option, value)
    return highs
