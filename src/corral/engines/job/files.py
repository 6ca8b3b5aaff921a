"""The files of an attempt in the shared folder: inputs before it, outputs after it.

The pods see the folder of their attempt through a claim; see `JobOptions.shared_folder`.
"""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from corral.engines.job.manifest import FOLDER
from corral.work import EngineError, OutputFile, TaskInvalidError


@dataclass(frozen=True, slots=True)
class AttemptFolder:
    """The folder of one attempt."""

    path: Path

    @classmethod
    def find(cls, shared: Path, attempt: UUID) -> AttemptFolder:
        """Find the folder of an attempt in the shared one, whether it exists or not."""
        return cls(shared / FOLDER / str(attempt))

    def prepare(self, files: Mapping[str, Path]) -> None:
        """Make the folder, with copies of the task's files. Raises: EngineError when it cannot be written."""
        try:
            for folder in (self.path / "inputs", self.path / "outputs"):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o777)  # an image's own user writes here
            for name, source in files.items():
                if Path(name).name != name:
                    raise TaskInvalidError(f"{name!r} is not a plain file name")
                shutil.copyfile(source, self.path / "inputs" / name)
        except OSError as error:
            raise EngineError(
                f"the shared folder cannot be written: {error}",
                where=str(self.path),
                hint="check that it is mounted on this machine, and the engine's `sharedFolder`",
            ) from error

    def collect(self, patterns: Sequence[str], scratch: Path, reserved: Collection[str]) -> tuple[OutputFile, ...]:
        """Copy the declared outputs into an attempt's scratch folder.

        Raises: EngineError when a pattern matches nothing, TaskInvalidError when two outputs share a name.
        """
        root = (self.path / "outputs").resolve()
        outputs: dict[str, Path] = {}
        for pattern in patterns:
            matches = sorted(path for path in root.glob(pattern) if _is_inside(path, root))
            if not matches:
                raise EngineError(f"no file in the outputs matches the declared output {pattern!r}")
            for path in matches:
                if path.name in reserved or outputs.setdefault(path.name, path) != path:
                    raise TaskInvalidError(
                        f"two outputs are called {path.name!r}", hint="give each output its own name"
                    )
        for name, path in outputs.items():
            shutil.copyfile(path, scratch / name)
        return tuple(
            OutputFile(
                name=name,
                path=scratch / name,
                media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
            )
            for name in outputs
        )

    def remove(self) -> None:
        """Remove the folder; what cannot be removed stays."""
        shutil.rmtree(self.path, ignore_errors=True)


def _is_inside(path: Path, root: Path) -> bool:
    real = path.resolve()
    return real.is_file() and real.is_relative_to(root)


def remove_forgotten(shared: Path, known: Collection[str], *, older_than: float) -> None:
    """Remove folders of attempts whose Job is gone and that were made before `older_than`, a time since the epoch."""
    for folder in (shared / FOLDER).glob("*-*-*-*-*"):
        if folder.name not in known and folder.stat().st_mtime < older_than:
            shutil.rmtree(folder, ignore_errors=True)
