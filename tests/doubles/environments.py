"""Programs from PyPI that read what is rendered and whose packages are not ours: each has an environment of its own.

An environment lies below `.cache` and is made once for each lock file; nothing in it is a double.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

_CACHE = Path(__file__).parents[2] / ".cache"


def installed(lock: Path, program: str) -> Path:
    """The path of a program, installed from a lock file with hashes where that has not been done yet."""
    uv = Path(sys.executable).with_name("uv")
    folder = _CACHE / f"{program}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    finished = folder / "finished"
    if not finished.exists():
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", folder / "bin" / "python"]
        subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
        finished.touch()
    return folder / "bin" / program
