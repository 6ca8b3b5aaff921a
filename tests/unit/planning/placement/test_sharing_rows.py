"""The rows that bound shared GPUs hold for everything that fits on one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corral.planning.placement.integer_program import find_fillable, make_sharing_rows

GIB = 2**30
MIB = 2**20


@given(st.lists(st.integers(1, 24 * 1024), min_size=1, max_size=8), st.integers(1024, 24 * 1024))
def test_no_row_forbids_what_fits_on_a_card(sizes, usable):
    needs = {column: size * MIB for column, size in enumerate(sizes)}
    fitting, left = [], usable * MIB
    for column, need in needs.items():
        if need <= left:
            fitting.append(column)
            left -= need

    for weights, capacity in make_sharing_rows(needs, usable * MIB):
        assert sum(weights.get(column, 0) for column in fitting) <= capacity + 1e-9


def test_needs_above_a_third_of_a_card_are_at_most_two_on_it():
    rows = list(make_sharing_rows({0: 6 * GIB}, 16 * GIB))

    assert min(capacity / weights[0] for weights, capacity in rows if weights) == 2


def test_needs_of_whole_gib_leave_the_half_of_a_card_s_last():
    assert find_fillable([4 * GIB, 6 * GIB], 15 * GIB + GIB // 2) == 14 * GIB
