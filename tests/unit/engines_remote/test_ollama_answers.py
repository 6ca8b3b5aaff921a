"""What is kept of a finished answer of Ollama."""

from __future__ import annotations

import json

from corral.engines.ollama.protocol import Answer
from corral.tasks.attempt_run import MAX_VALUES_BYTES


def test_values_of_a_long_answer_in_any_script_can_be_kept() -> None:
    for letter in ("a", "ж", "\N{GRINNING FACE}"):
        answer = Answer(where="here", limit=None)
        answer.take({"message": {"content": letter * 200_000}})
        answer.take({"done": True})

        values = answer.list_values()

        assert len(json.dumps(values)) <= MAX_VALUES_BYTES
        assert (values["text"] is None) == (letter != "a")
