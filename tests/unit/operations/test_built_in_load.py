"""Which model the built-in load generates with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from corral.operations.load_testing import NoLoadError, write_built_in_load
from corral.telemetry.nvml import FoundGpu
from corral.units import Bytes
from corral.weights.values import Model

GIB = 2**30


def a_model(name: str, gib: int, *engines: str) -> Model:
    path = Path("/models") / f"{name}.gguf"
    return Model(
        name=name,
        folder=path.parent,
        path=path,
        files=(),
        size=Bytes(gib * GIB),
        licence=None,
        engines=engines,
        source="a test",
        pulled_at=datetime(2026, 11, 30, tzinfo=UTC),
    )


MODELS = (a_model("small", 1, "llama"), a_model("middle", 8, "llama"), a_model("large", 20, "llama"))
SPEECH = a_model("speech", 3, "whisper")


def a_gpu(index: int, gib: int | None) -> FoundGpu:
    return FoundGpu(index=index, memory_total=None if gib is None else Bytes(gib * GIB))


@pytest.mark.parametrize(
    ("sizes", "name"), [((16,), "middle"), ((16, 32), "middle"), ((32,), "large"), ((None,), "large"), ((), "large")]
)
def test_load_has_the_largest_model_that_each_gpu_holds(sizes: tuple[int | None, ...], name: str) -> None:
    gpus = [a_gpu(index, size) for index, size in enumerate(sizes)]

    command = write_built_in_load(Path("/data"), (*MODELS, SPEECH), gpus)

    assert command.endswith(f"-m corral.engines.llama.load --model /models/{name}.gguf --data-dir /data")


def test_machine_without_a_model_that_fits_has_no_load() -> None:
    with pytest.raises(NoLoadError, match="no model here"):
        write_built_in_load(Path("/data"), (*MODELS[1:], SPEECH), [a_gpu(0, 8)])
