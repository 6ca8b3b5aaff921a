"""Events of a stream that is changed on its way arrive whole, wherever the network cut them."""

from __future__ import annotations

import pytest

from corral.gateway.editing import LARGEST_ANSWER, LARGEST_EVENT, AnswerTooLargeError, EventEditor, WholeEditor
from corral.gateway.upstream import UpstreamError

_STREAM = b"data: one\r\n\r\ndata: two\r\n\r\ndata: [DONE]\r\n\r\n"


@pytest.mark.parametrize("cut", range(1, len(_STREAM)))
def test_events_with_windows_line_ends_are_whole_wherever_they_are_cut(cut: int) -> None:
    editor = EventEditor(lambda event: event)

    sent = editor.edit(_STREAM[:cut]) + editor.edit(_STREAM[cut:]) + editor.finish()

    assert sent == b"data: one\n\ndata: two\n\ndata: [DONE]\n\n"


def test_event_without_an_end_is_waited_for_up_to_a_bound() -> None:
    editor = EventEditor(lambda event: event)
    piece = b"x" * (LARGEST_EVENT // 2)

    assert editor.edit(b"data: " + piece) == b""
    with pytest.raises(UpstreamError, match="more than 16777216 bytes"):
        editor.edit(piece)


def test_answer_that_has_to_be_whole_is_held_up_to_a_bound() -> None:
    editor = WholeEditor(lambda answer: answer)
    half = b"x" * (LARGEST_ANSWER // 2)

    assert editor.edit(half) + editor.edit(half) == b""
    with pytest.raises(AnswerTooLargeError, match="more than 67108864 bytes"):
        editor.edit(b"x")
