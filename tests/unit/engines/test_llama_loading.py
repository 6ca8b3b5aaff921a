"""Where a model is, and why it could not be loaded, by llama.cpp's own lines.

The lines are from logs of llama-server 10434 built for Vulkan, with llvmpipe and without a device, of xllamacpp
2026.10, and (without a prefix) of llama.cpp's source at b5000.
"""

from __future__ import annotations

import pytest

from corral.engines.llama.loading import LoadReport
from corral.work import EngineError, EngineUnavailableError, TaskInvalidError

ON_VULKAN = """\
0.00.527.724 I prepare_devices: using device Vulkan0 (llvmpipe (LLVM 15.0.6, 256 bits)) (unknown id) - 2048 MiB free
0.00.585.197 I load_tensors: offloading output layer to GPU
0.00.585.229 I load_tensors: offloaded 31/31 layers to GPU
0.00.585.237 I load_tensors:   CPU_Mapped model buffer size =    28.69 MiB
0.00.585.243 I load_tensors:      Vulkan0 model buffer size =    92.10 MiB
0.00.708.978 I llama_context: Vulkan_Host  output buffer size =     0.19 MiB
0.00.709.098 I llama_kv_cache:    Vulkan0 KV buffer size =    11.25 MiB
0.00.819.130 I sched_reserve:    Vulkan0 compute buffer size =    11.76 MiB
"""
WITHOUT_A_DEVICE = """\
0.00.556.660 I load_tensors: offloading output layer to GPU
0.00.556.709 I load_tensors: offloaded 31/31 layers to GPU
0.00.556.720 I load_tensors:          AMX model buffer size =    95.34 MiB
0.00.556.727 I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
0.03.818.518 I llama_kv_cache:        CPU KV buffer size =    11.25 MiB
"""
ON_TWO = """\
llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 3090) - 23306 MiB free
llama_model_load_from_file_impl: using device CUDA1 (NVIDIA GeForce RTX 3090) (0000:02:00.0) - 23306 MiB free
load_tensors: offloaded 20/33 layers to GPU
load_tensors:        CUDA0 model buffer size =  2000.00 MiB
load_tensors:        CUDA1 model buffer size =  1000.00 MiB
"""
NO_LAYERS = """\
0.00.1 I llama_prepare_model_devices: using device CUDA0 (NVIDIA GeForce RTX 3090) (0000:01:00.0) - 23306 MiB free
0.00.2 I load_tensors: offloaded 0/33 layers to GPU
0.00.3 I load_tensors:   CPU_Mapped model buffer size =  4000.00 MiB
"""


def read(text: str) -> LoadReport:
    report = LoadReport()
    for line in text.splitlines():
        report.take(line)
    return report


@pytest.mark.parametrize(
    ("printed", "computes_on"),
    [
        (ON_VULKAN, "Vulkan0 (llvmpipe (LLVM 15.0.6, 256 bits)), 31 of 31 layers"),
        (ON_TWO, "CUDA0 (NVIDIA GeForce RTX 3090) and CUDA1 (NVIDIA GeForce RTX 3090), 20 of 33 layers"),
        (NO_LAYERS, "the processor"),
    ],
)
def test_devices_are_those_that_hold_a_part_of_the_model(printed: str, computes_on: str) -> None:
    assert read(printed).computes_on == computes_on


def test_offloaded_layers_alone_prove_nothing() -> None:
    assert (read(WITHOUT_A_DEVICE).devices, read(WITHOUT_A_DEVICE).computes_on) == ((), "the processor")


def test_memory_is_the_devices_alone_where_there_is_one() -> None:
    assert read(ON_VULKAN).memory == int((92.10 + 11.25 + 11.76) * 2**20)
    assert read(WITHOUT_A_DEVICE).memory == int((95.34 + 92.10 + 11.25) * 2**20)
    assert read("").memory is None


DAMAGED = """\
0.00.101 I cmn  common_init_: (for bugs during this step try to reproduce them with -fit off)
0.00.101.511 E gguf_init_from_reader: failed to read key-value pairs
0.00.101.623 E llama_model_load: error loading model: llama_model_loader: failed to load model from /data/bad.gguf
0.00.101.680 E fit_params: encountered an error while trying to fit params to free device memory: failed to load model
0.00.101.722 E gguf_init_from_reader: failed to read key-value pairs
0.00.101.782 E srv    load_model: failed to load model, '/data/bad.gguf'
"""
TOO_LARGE = """\
0.00.2 E ggml_cuda_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: out of memory
0.00.3 E llama_model_load: error loading model: unable to allocate CUDA0 buffer
"""
UNKNOWN_ARCHITECTURE = """\
llama_model_load: error loading model: error loading model architecture: unknown model architecture: 'hyper9'
llama_model_load_from_file_impl: failed to load model
"""


@pytest.mark.parametrize(
    ("printed", "error", "words"),
    [
        (DAMAGED, TaskInvalidError, r"failed to read key-value pairs; .*failed to load model from bad\.gguf"),
        (UNKNOWN_ARCHITECTURE, TaskInvalidError, "unknown model architecture: 'hyper9'"),
        (TOO_LARGE, EngineError, "cudaMalloc failed: out of memory"),
        ("error: invalid argument: --threads-batch\n", EngineUnavailableError, "invalid argument: --threads-batch"),
        ("0.1 I srv load_model: loading\n", EngineError, "killed by SIGSEGV"),
    ],
)
def test_failure_quotes_llama_cpp_and_names_whose_it_is(printed: str, error: type[EngineError], words: str) -> None:
    failure = read(printed).make_failure("llama-server", "bad.gguf", "it was killed by SIGSEGV")

    assert type(failure) is error
    with pytest.raises(EngineError, match=words):
        raise failure
