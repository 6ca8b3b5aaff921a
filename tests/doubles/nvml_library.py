"""Stands for NVIDIA's driver library: tests/nvml/nvml.c, built here, found first by the loader.

Its behaviour was checked against nvml.h as nvidia-ml-py 13 declares it; the file says what each of its machines is.
"""

from __future__ import annotations

from pathlib import Path

from doubles.c_library import compile_library

SOURCE = Path(__file__).parents[1] / "nvml" / "nvml.c"


def build_library(folder: Path) -> Path:
    """Build our libnvidia-ml.so.1 into a folder and return the folder."""
    compile_library(SOURCE, folder / "libnvidia-ml.so.1")
    return folder


def machine(library: Path, name: str, *, state: Path | None = None) -> dict[str, str]:
    """Return the environment in which a process finds one of the machines of nvml.c.

    `state` is a file of `CORRAL_TEST_NVML_STATE`, which a test writes while the GPUs are watched.
    """
    watched = {} if state is None else {"CORRAL_TEST_NVML_STATE": str(state)}
    return {"LD_LIBRARY_PATH": str(library), "CORRAL_TEST_NVML": name, **watched}


def write_state(state: Path, *lines: str) -> None:
    """Change what the GPUs do, whole: a look sees all of it or nothing."""
    fresh = state.with_suffix(".new")
    fresh.write_text("".join(f"{line}\n" for line in lines))
    fresh.replace(state)
