"""Writes the locked files of the engines' own environments, from the extras of the package: `make lock` runs this.

Each holds an engine's extra, and what Corral's own modules need in a worker. The versions are those of dev.lock and
cuda.lock, which are passed as constraints, so that the tests run with what is installed; but for an engine whose
libraries cannot be installed next to Corral's.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "src" / "corral" / "engines" / "environments" / "locks"
EXTRAS = {
    "chatterbox": ("chatterbox",),
    "kokoro": ("kokoro",),
    "llama": ("llama",),
    "onnx": ("onnx",),
    "piper": ("piper",),
    "trainer": ("trainer",),
    "whisper": ("whisper",),
    "whisper-cuda": ("whisper", "cuda"),
}
"""The extras in each locked file."""
APART = frozenset({"chatterbox", "trainer"})
"""Those that want other versions than Corral's."""
UNUSED = ROOT / "requirements" / "chatterbox_unused.in"
"""Packages that chatterbox-tts names, and that nothing imports which the engine uses."""
OF_A_WORKER = "psutil"
"""What `corral.processes.programs` imports; all else of Corral in a worker needs the standard library alone."""


def list_requirements(extras: tuple[str, ...]) -> list[str]:
    """List the requirements of an environment, as the package names them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [requirement for requirement in project["dependencies"] if requirement.startswith(OF_A_WORKER)]
    return [*own, *(requirement for extra in extras for requirement in project["optional-dependencies"][extra])]


def main(uv: str) -> None:
    """Write every file."""
    options = (
        "--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate"
    )
    for name, extras in EXTRAS.items():
        constraints = ROOT / "requirements" / ("cuda.lock" if "cuda" in extras else "dev.lock")
        bounds = ("--excludes", UNUSED) if name in APART else ("-c", constraints)
        subprocess.run(
            (uv, "pip", "compile", *options.split(), *bounds, "-o", LOCKS / f"{name}.lock", "-"),
            input="\n".join(list_requirements(extras)),
            text=True,
            check=True,
        )


if __name__ == "__main__":
    main(sys.argv[1])
