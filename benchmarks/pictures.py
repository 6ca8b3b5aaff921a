"""How long pictures take on a processor: the models of the engine `onnx`, in this process, without a queue.

A face, the face enlarged four times by each upscaler, and the checks of the large picture. The smallest processor time
(user and system) of all rounds is printed, after one round that warms up.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import machine, show
from corral.data_dir import default_data_dir, models_dir
from corral.weights.store import Store

FACES, FINDS, RATES = "dcgan-faces-64", "nudenet-320n", "open-nsfw"
UPSCALERS = ("realesr-animevideov3-x2", "realesr-animevideov3-x4", "realesrgan-x4plus-anime", "realesrgan-x4plus")


def measure_steps(store: Store, threads: int, rounds: int) -> list[list[str]]:
    """Return a row for each step, with wall and processor time in milliseconds."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # NumPy reads it when it is loaded
    from corral.engines.inspect.worker import measure
    from corral.engines.onnx.detecting import Detector
    from corral.engines.onnx.faces import FaceGenerator
    from corral.engines.onnx.pictures import write_png
    from corral.engines.onnx.upscaling import Upscaler

    faces = FaceGenerator(store.path(FACES))
    face = faces.draw(7, 0, 0.0)
    rows = [_time("face of 64 x 64", rounds, lambda: faces.draw(7, 0, 0.0))]
    large = face
    for name in UPSCALERS:
        folder = store.path(name)
        upscaler = Upscaler(folder / f"{name}.param", folder / f"{name}.bin", threads)

        def enlarge(upscaler: Upscaler = upscaler) -> None:
            nonlocal large
            large = next(rows for _, rows in upscaler.enlarge(face) if rows is not None)

        rows.append(_time(f"{name}: 64 to {64 * upscaler.scale}", rounds, enlarge))
    detector, rater = Detector(store.path(FINDS), threads), Detector(store.path(RATES), threads)
    rows.append(_time("faces found in 256 x 256", rounds, lambda: detector.check(large, 0.25)))
    rows.append(_time("256 x 256 rated", rounds, lambda: rater.check(large, 0.25)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.png"
        write_png(path, large)
        checks = "256 x 256 decoded and measured without a model"
        rows.append(_time(checks, rounds, lambda: measure(path)))
    return rows


def _time(name: str, rounds: int, step: Callable[[], object]) -> list[str]:
    step()
    walls: list[float] = []
    shares: list[float] = []
    for _ in range(rounds):
        wall, share = time.perf_counter(), time.process_time()
        step()
        walls.append(time.perf_counter() - wall)
        shares.append(time.process_time() - share)
    return [name, f"{min(walls) * 1000:,.1f}", f"{min(shares) * 1000:,.1f}"]


def main() -> None:
    """Fetch the models where they are not here, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--models", type=Path, default=models_dir(default_data_dir()), help="the folder of the model store"
    )
    asked = parser.parse_args()
    store = Store(asked.models)
    for name in (FACES, FINDS, RATES, *UPSCALERS):
        asyncio.run(store.pull(name))
    rows = measure_steps(store, asked.threads, asked.rounds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    notes = (machine(), f"{asked.threads} thread(s); all models together took {memory:,} MiB")
    show("Pictures without a GPU", ("step", "ms", "processor ms"), rows, notes)


if __name__ == "__main__":
    main()
