"""Events of a stream that is changed on its way arrive whole, wherever the network cut them."""

from __future__ import annotations

import pytest

from corral.gateway.editing import EventEditor

_STREAM = b"data: one\r\n\r\ndata: two\r\n\r\ndata: [DONE]\r\n\r\n"


@pytest.mark.parametrize("cut", range(1, len(_STREAM)))
def test_events_with_windows_line_ends_are_whole_wherever_they_are_cut(cut: int) -> None:
    editor = EventEditor(lambda event: event)

    sent = editor.edit(_STREAM[:cut]) + editor.edit(_STREAM[cut:]) + editor.finish()

    assert sent == b"data: one\n\ndata: two\n\ndata: [DONE]\n\n"
