"""A server starts without the libraries that only rendering, drawing, planning and assistants need."""

from __future__ import annotations

import subprocess
import sys

LATE = ("lightkube", "grafana_foundation_sdk", "pygal", "markdown_it", "highspy", "corral.charts", "mcp", "PIL")
"""Loaded by the first request that needs them: together they take longer to import than the rest of a server."""


def test_libraries_of_single_requests_are_not_loaded_at_the_start() -> None:
    probe = (
        "import pkgutil, sys, corral.server\n"
        "for module in pkgutil.walk_packages(corral.server.__path__, 'corral.server.'):\n"
        "    __import__(module.name)\n"
        f"print([name for name in {LATE!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
