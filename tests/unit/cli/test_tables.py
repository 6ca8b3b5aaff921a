"""Tables and sentences on terminals that are too narrow for them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corral.cli.tables import align, align_fields, drop_columns, wrap_sentence

ROWS = [
    ["node", "why"],
    ["hydra-ai", "the node has two models of card, and any of them may be handed out"],
    ["hydra-compute", "free"],
]


def test_without_a_width_each_row_is_one_line_however_long() -> None:
    assert align(ROWS) == [
        "node           why",
        "hydra-ai       the node has two models of card, and any of them may be handed out",
        "hydra-compute  free",
    ]


def test_a_table_that_fits_is_not_touched() -> None:
    assert align(ROWS, width=81) == align(ROWS)


def test_long_cells_continue_below_where_the_terminal_is_narrow() -> None:
    assert align(ROWS, width=50) == [
        "node           why",
        "hydra-ai       the node has two models of card,",
        "               and any of them may be handed out",
        "hydra-compute  free",
    ]


def test_a_row_whose_words_do_not_fit_becomes_a_list_of_its_fields() -> None:
    rows = [["where", "fits on"], ["a-long-name/gpu0", "another-long-name/gpu1"], ["b", "c"]]

    assert align(rows, width=30) == [
        "where    a-long-name/gpu0",
        "fits on  another-long-name/gpu1",
        "",
        "where    b",
        "fits on  c",
    ]


def test_columns_are_left_out_before_rows_become_lists() -> None:
    rows = [["where", "heat", "fits on"], ["a-long-name/gpu0", "754-btu-per-hour", "gpu1"], ["b", "1", "c"]]

    kept, dropped = drop_columns(rows, ["heat", "where"], width=30)

    assert dropped == ("heat",)
    assert align(kept, width=30) == ["where             fits on", "a-long-name/gpu0  gpu1", "b                 c"]


def test_no_column_is_left_out_where_there_is_room_or_no_terminal() -> None:
    assert drop_columns(ROWS, ["why"], width=81) == (ROWS, ())
    assert drop_columns(ROWS, ["why"]) == (ROWS, ())


def test_no_column_is_left_out_for_nothing_where_cells_can_continue_below() -> None:
    rows = [["node", "heat", "why"], *([node, "1", why] for node, why in ROWS[1:])]

    assert drop_columns(rows, ["heat"], width=50) == (rows, ())


def test_a_column_without_a_value_is_left_out_in_silence() -> None:
    rows = [["node", "cost"], ["a", "-"], ["b", ""]]

    assert drop_columns(rows, ["cost"]) == ([["node"], ["a"], ["b"]], ())


def test_a_command_stays_whole_so_that_it_can_be_copied() -> None:
    wrapped = wrap_sentence(
        "  ", "to do: run `nvidia-smi -i 0 -pl 250` at every start of the machine", "    ", width=39
    )

    assert wrapped == ["  to do: run", "    `nvidia-smi -i 0 -pl 250` at every", "    start of the machine"]


def test_a_field_continues_under_its_value() -> None:
    aligned = align_fields([("model", "x"), ("origin", "assumed from what its name says of it")], width=30)

    assert aligned == ["model   x", "origin  assumed from what its", "        name says of it"]


WORDS = st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=9).map(" ".join)
TABLES = (
    st.integers(1, 5)
    .flatmap(
        lambda columns: st.tuples(
            st.lists(st.text("abc", min_size=1, max_size=9), min_size=columns, max_size=columns),
            st.lists(st.lists(WORDS, min_size=columns, max_size=columns), min_size=1, max_size=5),
        )
    )
    .map(lambda table: [table[0], *table[1]])
)


@given(rows=TABLES, width=st.integers(40, 100))
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(rows: list[list[str]], width: int) -> None:
    lines = align(rows, width=width)

    assert all(len(line) <= width for line in lines)
    words = sorted(" ".join(lines).split())
    wanted = [word for row in rows for cell in row for word in cell.split()]
    as_fields = [word for row in rows[1:] for cell in row for word in cell.split()]
    as_fields += rows[0] * (len(rows) - 1)
    assert words in (sorted(wanted), sorted(as_fields))
