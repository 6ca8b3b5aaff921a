"""The Python in which an engine's process runs: its own environment where one is installed, else Corral's.

Layout: `<engines folder>/whisper/cuda-0f3a.../` is an environment, complete once it has `environment.json`; `current`
is a link to the one in use, replaced in one step. A worker imports Corral's own modules from the Corral that starts it:
the environment has a folder with nothing but a link to them, named in a `.pth` file, so that none of Corral's packages
can be seen from there.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import corral
from corral.data_dir import default_data_dir
from corral.engine_facts import EngineKind
from corral.work import EngineUnavailableError

CURRENT = "current"
FACTS = "environment.json"
CODE_FOLDER = "corral-code"
PATH_FILE = "corral.pth"
_PACKAGE = Path(corral.__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python, and where its packages of NVIDIA's libraries are."""

    python: str
    nvidia: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledEnvironment:
    """An environment that is complete."""

    engine: str
    variant: str
    digest: str
    """Of the locked file and the version of Python that it was built with."""
    packages: int
    installed_at: datetime
    folder: Path

    @property
    def python(self) -> Path:
        """Its Python."""
        return find_python(self.folder)


@dataclass(frozen=True, slots=True)
class Environments:
    """The environments of engines below a folder; none where there is no folder."""

    folder: Path | None = None

    def read(self, engine: str) -> InstalledEnvironment | None:
        """Return the environment of an engine that is in use; None where there is none, or none that is whole."""
        if self.folder is None:
            return None
        return read_environment(self.folder / engine / CURRENT)

    def require(self, kind: EngineKind) -> Interpreter:
        """Return the Python that an engine's process starts with; libraries and programs are looked for, not run.

        Raises: EngineUnavailableError with what installs the one that is missing.
        """
        interpreter = self._find_interpreter(kind)
        if kind.helper is not None and shutil.which(kind.helper.name) is None:
            what = f"the {kind.name} engine needs the program {kind.helper.name!r}, which is not on PATH"
            raise EngineUnavailableError(what, hint=kind.helper.install)
        return interpreter

    def _find_interpreter(self, kind: EngineKind) -> Interpreter:
        installed = self.read(kind.name)
        if installed is not None:
            try:
                link_code(installed.folder)
            except OSError as error:
                what = f"the environment of {kind.name} cannot be used: {error.strerror}"
                hint = self.write_command(kind)
                raise EngineUnavailableError(what, where=str(installed.folder), hint=hint) from error
            nvidia = find_packages(installed.folder) / "nvidia"
            return Interpreter(python=str(installed.python), nvidia=(nvidia,) if nvidia.is_dir() else ())
        if kind.library is not None and find_spec(kind.library) is None:
            what = f"the {kind.name} engine is not installed: no library {kind.library!r}"
            raise EngineUnavailableError(what, hint=self.write_command(kind))
        return Interpreter(python=sys.executable, nvidia=list_own_nvidia())

    def write_command(self, kind: EngineKind, variant: str | None = None) -> str:
        """Write the command that installs what an engine needs where this Corral finds it."""
        data_dir = None if self.folder is None else self.folder.parent
        return " ".join(
            (
                f"corral engines install {kind.name}",
                *(() if variant is None else (f"--variant {variant}",)),
                *(() if data_dir in (None, default_data_dir()) else (f"--data-dir {shlex.quote(str(data_dir))}",)),
            )
        )


def list_own_nvidia() -> tuple[Path, ...]:
    """Return the folders of NVIDIA's packages next to Corral (`corral[cuda]`)."""
    spec = find_spec("nvidia")
    return () if spec is None else tuple(Path(folder) for folder in spec.submodule_search_locations or ())


def read_environment(folder: Path) -> InstalledEnvironment | None:
    """Read the facts of an environment; None where it is not complete."""
    try:
        facts = cast("dict[str, Any]", json.loads((folder / FACTS).read_text(encoding="utf-8")))  # Any: written here
        installed = InstalledEnvironment(
            engine=facts["engine"],
            variant=facts["variant"],
            digest=facts["digest"],
            packages=facts["packages"],
            installed_at=datetime.fromisoformat(facts["installed_at"]),
            folder=folder.resolve(),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return installed if installed.python.exists() else None


def find_python(folder: Path) -> Path:
    """Return the Python of an environment."""
    return folder / "bin" / "python"


def find_packages(folder: Path) -> Path:
    """Return the folder of an environment's packages."""
    return next(iter(sorted((folder / "lib").glob("python3*/site-packages"))), folder / "lib")


def link_code(folder: Path) -> None:
    """Have an environment import Corral's modules from this Corral, and nothing else of it. Raises: OSError."""
    code = folder / CODE_FOLDER
    link = code / "corral"
    if link.is_symlink() and os.readlink(link) == str(_PACKAGE):
        return
    code.mkdir(exist_ok=True)
    replace_link(link, _PACKAGE)
    (find_packages(folder) / PATH_FILE).write_text(f"{code.resolve()}\n", encoding="utf-8")


def replace_link(link: Path, target: Path) -> None:
    """Make a link, or have it lead elsewhere in one step. Raises: OSError."""
    made = link.with_name(f".{uuid4().hex}.link")
    made.symlink_to(target)
    made.replace(link)
