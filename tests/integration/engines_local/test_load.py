"""The built-in load with a real model, on the processor: it writes until it is ended, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from corral.weights.store import Store
from doubles.local_engines import LLAMA, running_below


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_load_writes_tokens_until_it_is_ended_and_leaves_no_process(
    models: Store, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ["--model", str(models.path(LLAMA)), "--data-dir", str(tmp_path), "--answer", "2"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "corral.engines.llama.load", *arguments],
        env={name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = next(line for line in process.stdout if line.startswith("tokens:"))
    process.send_signal(number)
    process.communicate(timeout=60)

    assert first == "tokens: 2\n"
    assert process.returncode == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    psutil.wait_procs(running_below(tmp_path / "loadtests"), timeout=30)  # a keeper sees the end of its parent
    assert running_below(tmp_path / "loadtests") == []


def test_load_ends_with_the_reason_where_its_model_cannot_be_loaded(tmp_path: Path) -> None:
    model = tmp_path / "page.gguf"
    model.write_text("<html>not found</html>")

    ended = subprocess.run(
        [sys.executable, "-P", "-m", "corral.engines.llama.load", "--model", model, "--data-dir", tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 1
    assert "is not a GGUF file" in ended.stderr
