"""What Corral computes from a header beside what llama.cpp allocates: `python -m benchmarks.fit [FILE.gguf ...]`.

Files that are named are loaded as they are; besides, small models of several architectures are made and loaded.
llama.cpp runs on the processor here: its compute buffer there is what is compared, and a GPU's may differ.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from corral.hardware.fit.memory import Parts, Running, compute_parts
from corral.weights.headers.reading import shape_here
from doubles.llama_memory import Reported, report_of
from doubles.tiny_llms import ALL, write_llm

_MIB = 2**20
_SETTINGS = (
    Running(context=4096),
    Running(context=1000, parallel=4, cache_type_k="q8_0", cache_type_v="q8_0"),
    Running(context=2048, parallel=2, flash_attention=False),
)


def main() -> None:
    """Print one row for each part of each model and setting."""
    named = _files()
    print("| model | context | parallel | cache | part | computed MiB | llama.cpp MiB | error |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        made = [write_llm(Path(folder) / f"{name}.gguf", llm) for name, llm in ALL.items()]
        for path in (*named, *made):
            for running in _SETTINGS:
                for row in _rows(path, running):
                    print(row)


def _files() -> list[Path]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.gguf", help="load these too")
    return parser.parse_args().files


def _rows(path: Path, running: Running) -> Iterator[str]:
    shape = asyncio.run(shape_here(path, name=path.stem))
    parts = compute_parts(shape, running)
    reported = report_of(
        path,
        context=running.context,
        parallel=running.parallel,
        cache_type=running.cache_type_k,
        flash_attention=running.flash_attention,
    )
    attention = "" if running.flash_attention else ", no flash attention"
    start = f"| {path.stem} | {running.context} | {running.parallel} | {running.cache_type_k}{attention}"
    for name, computed, seen in _compared(parts, shape.weights, reported):
        error = "not computed" if computed is None else f"{100 * (computed / seen - 1):+.2f} %"
        amount = "unknown" if computed is None else f"{computed / _MIB:.2f}"
        yield f"{start} | {name} | {amount} | {seen / _MIB:.2f} | {error} |"


def _compared(parts: Parts, weights: int, reported: Reported) -> Iterator[tuple[str, float | None, float]]:
    yield "weights", weights, reported.weights
    yield "KV cache", parts.cache.value if parts.cache else None, reported.cache
    yield "compute buffer", parts.buffer.value if parts.buffer else None, reported.buffer


if __name__ == "__main__":
    main()
