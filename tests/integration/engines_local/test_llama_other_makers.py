"""A slot on a GPU of AMD or Intel takes tasks with a llama-server that sees it, and with no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.engines.building import Device, build
from corral.work import Engine, EngineUnavailableError
from doubles.local_engines import Remembering, a_work
from doubles.vulkan_server import find_vulkan_server

ADDRESS = "0000:03:00.0"
FOR_ROCM = """\
#!/bin/sh
test "$1" = --list-devices || exit 2
echo "Available devices:"
# A build for ROCm hides what these variables hide.
if [ -z "$CUDA_VISIBLE_DEVICES" ] && [ -n "$HIP_VISIBLE_DEVICES" ]; then
  echo "  ROCm0: AMD Radeon RX 7900 XTX (24560 MiB, 24000 MiB free)"
fi
"""


def on_card(folder: Path, binary: Path) -> Engine:
    model = folder / "m.gguf"
    model.write_bytes(b"GGUF")
    return build(
        "llama",
        device=Device(name="gpu0", gpu=ADDRESS),
        threads=1,
        options={"binary": str(binary)},
        locate=lambda name: folder / name,
        log_dir=folder / "logs",
    )


async def test_build_that_sees_no_gpu_is_refused_with_what_to_install(tmp_path: Path) -> None:
    engine = on_card(tmp_path, find_vulkan_server())

    with pytest.raises(EngineUnavailableError, match=f"sees no GPU at {ADDRESS}") as refused:
        await engine.check()
    with pytest.raises(EngineUnavailableError, match="sees no GPU"):
        await engine.run(a_work("llama", tmp_path, model="m.gguf", prompt="Hi"), Remembering())
    await engine.close()

    assert "install a llama-server for the GPU" in (refused.value.hint or "")


async def test_build_that_sees_the_card_is_taken(tmp_path: Path) -> None:
    server = tmp_path / "llama-server"
    server.write_text(FOR_ROCM)
    server.chmod(0o755)
    engine = on_card(tmp_path, server)

    await engine.check()
    await engine.close()
