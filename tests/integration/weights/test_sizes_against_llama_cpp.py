"""What is computed from a header is what llama.cpp allocates, on models of every architecture whose rules differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from corral.hardware.fit.memory import Running, compute_parts
from corral.weights.headers.reading import shape_here
from doubles.llama_memory import report_of
from doubles.tiny_llms import ALL, LLAMA, write_llm

LAST_DIGIT = 0.01 * 2**20
"""llama.cpp prints sizes with two decimals of a MiB."""
BUFFER_BOUND = 0.02
"""The processor's compute buffer is what is compared: no GPU is needed, and none is measured."""
LONG = Running(context=4096)
QUANTIZED_AND_PARALLEL = Running(context=1000, parallel=4, cache_type_k="q8_0", cache_type_v="q8_0")
NO_FLASH_ATTENTION = Running(context=2048, parallel=2, flash_attention=False)


@pytest.mark.parametrize("running", [LONG, QUANTIZED_AND_PARALLEL, NO_FLASH_ATTENTION], ids=["long", "q8_0", "no-fa"])
@pytest.mark.parametrize("name", ALL)
async def test_weights_cache_and_buffer_are_those_of_llama_cpp(name: str, running: Running, tmp_path: Path) -> None:
    path = write_llm(tmp_path / f"{name}.gguf", ALL[name])

    shape = await shape_here(path, name=name)
    parts = compute_parts(shape, running)
    reported = report_of(
        path,
        context=running.context,
        parallel=running.parallel,
        cache_type=running.cache_type_k,
        flash_attention=running.flash_attention,
    )

    assert shape.weights == pytest.approx(reported.weights, abs=LAST_DIGIT)
    assert parts.cache is not None
    assert parts.cache.value == pytest.approx(reported.cache, abs=LAST_DIGIT)
    if name == "mamba":
        assert parts.buffer is None
    else:
        assert parts.buffer is not None
        assert parts.buffer.value == pytest.approx(reported.buffer, rel=BUFFER_BOUND)


async def test_the_buffer_of_a_narrow_feed_forward_step_is_overstated_never_understated(tmp_path: Path) -> None:
    path = write_llm(tmp_path / "narrow.gguf", replace(LLAMA, width=512, feed_forward=256))

    parts = compute_parts(await shape_here(path, name="narrow"), LONG)

    assert parts.buffer is not None
    assert report_of(path, context=4096).buffer <= parts.buffer.value * (1 + BUFFER_BOUND)
