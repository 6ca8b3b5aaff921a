"""A llama.cpp server can be ready before what it printed is read: until then, where it computes is unknown."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from corral.engines.building import Device, build
from doubles.local_engines import Remembering, a_work

SERVER = """#!{python}
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    answers = 0

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def do_POST(self):
        Handler.answers += 1
        if Handler.answers == 2:
            print("llama_model_load: using device CUDA0 (RTX 4070) - 12000 MiB free")
            print("load_tensors: offloaded 31/31 layers to GPU")
            print("load_tensors:        CUDA0 model buffer size =   100.00 MiB", flush=True)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'data: {{"choices": [{{"delta": {{"content": "hi"}}, "finish_reason": "stop"}}]}}\\n\\n')
        self.wfile.write(b"data: [DONE]\\n\\n")

port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
"""Stands for a `llama-server` on a GPU whose log arrives late; its lines are those of build 10434 with the name
of a device of CUDA."""


async def test_where_a_model_is_stays_unknown_until_its_lines_are_read(tmp_path: Path, report: Remembering) -> None:
    binary, model = tmp_path / "llama-server", tmp_path / "model.gguf"
    binary.write_text(SERVER.format(python=sys.executable))
    binary.chmod(0o755)
    model.write_bytes(b"GGUF")
    engine = build(
        "llama",
        device=Device(name="gpu0", gpu="GPU-1"),
        threads=1,
        options={"binary": str(binary)},
        locate=lambda _: model,
        log_dir=tmp_path / "logs",
    )
    try:
        await engine.run(a_work("llama", tmp_path, model="m", prompt="hi"), report)
        (early,) = await engine.resident()
        await engine.run(a_work("llama", tmp_path, model="m", prompt="hi"), report)
        async with asyncio.timeout(10):
            while (await engine.resident())[0].computes_on is None:  # noqa: ASYNC110 - the log is read by its own task
                await asyncio.sleep(0.01)
        (late,) = await engine.resident()
    finally:
        await engine.close()

    assert (early.computes_on, early.caution) == (None, None)
    assert (late.computes_on, late.caution) == ("CUDA0 (RTX 4070), 31 of 31 layers", None)
