"""Failures for want of a GPU's memory are known by the words of its libraries."""

from __future__ import annotations

import pytest

from corral.tasks.attempt_run import make_failure
from corral.work import EngineError


@pytest.mark.parametrize(
    "what",
    [
        "the whisper worker failed: RuntimeError: CUDA failed with error out of memory",
        "llama-server could not load: ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: "
        "cudaMalloc failed: out of memory",
        "llama-server failed: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        "torch.OutOfMemoryError: Tried to allocate 2.00 GiB",
        "the GPU ran out of memory: Allocation on device 0 would exceed allowed memory",
        "llama-server could not load 'x': failed to allocate buffer for kv cache",
    ],
)
def test_memory_that_was_missing_is_recognized(what: str) -> None:
    assert make_failure(EngineError(what)).out_of_memory


@pytest.mark.parametrize("what", ["the prompt is out of range", "model requires more system memory (9 GiB)", "memory"])
def test_other_failures_are_not_taken_for_it(what: str) -> None:
    assert not make_failure(EngineError(what)).out_of_memory
