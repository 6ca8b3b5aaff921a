"""Model files for programs elsewhere: from the store, or first into it, into the models folders of instances.

An instance has such a folder where the cluster file says so: on this machine, or on a share that both see. Once a file
is there, a task finds it by its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.cluster.values import Cluster
from corral.engines.surveying import Need
from corral.errors import CorralError, Kind, did_you_mean
from corral.units import Bytes
from corral.weights.errors import ModelDamagedError, PlacingError
from corral.weights.placing import PlacedFile, check_target, place_file
from corral.weights.store import Store
from corral.weights.values import Progress
from corral.work import PullStep


class NoModelsFolderError(CorralError):
    """No instance of that name has a models folder in the cluster file."""

    code: ClassVar[str] = "instance.no_models_folder"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceAsked:
    """A model file to place."""

    model: str
    """A name of the catalogue, `hf:owner/repo/file`, a URL or a path; it is pulled into the store first."""
    name: str
    """The kind of model and the file, as the instance finds it: `loras/paint.safetensors`."""
    on: str | None = None
    """An instance with a models folder; null is every one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedModel:
    """A model file in the folder of an instance."""

    instance: str
    path: Path
    size: Bytes
    sha256: str
    written: bool
    """False when the same file was there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedModels:
    """A model file, in each folder that was asked for."""

    model: str
    name: str
    items: tuple[PlacedModel, ...]


async def place_model(
    cluster: Cluster, store: Store, asked: PlaceAsked, on_step: Callable[[PullStep], None]
) -> PlacedModels:
    """Place a model file; instances that share a folder get it once.

    Raises: NoModelsFolderError, PlacingError, and what `Store.pull` raises.
    """
    folders = _choose_folders(cluster, asked.on)
    targets = {
        instance: await asyncio.to_thread(check_target, folder, asked.name) for instance, folder in folders.items()
    }

    def report(progress: Progress) -> None:
        on_step(PullStep(words=f"{progress.stage.value} {progress.model}", done=progress.done, total=progress.total))

    model = await store.pull(asked.model, report)
    items: list[PlacedModel] = []
    for instance, target in targets.items():
        words = f"copying to {instance}"
        placed = await place_file(
            model,
            target,
            lambda done, total, words=words: on_step(PullStep(words=words, done=Bytes(done), total=Bytes(total))),
        )
        items.append(_describe(instance, placed))
    return PlacedModels(model=model.name, name=asked.name, items=tuple(items))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplacedFile:
    """A model file that an instance lacks, and why it was not placed."""

    instance: str
    file: str
    problem: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedNeeds:
    """The model files of a workflow that instances lacked."""

    items: tuple[PlacedModel, ...]
    unplaced: tuple[UnplacedFile, ...]


async def place_needed(cluster: Cluster, store: Store, lacking: Mapping[str, Sequence[Need]]) -> PlacedNeeds:
    """Place the files that instances lack, from models of the store that have a file of the same name.

    Raises: DiskFullError, StoreUnwritableError.
    """
    folders = _list_folders(cluster)
    models = await asyncio.to_thread(store.list)
    stored = {model.files[0].name: model for model in models if len(model.files) == 1}
    items: list[PlacedModel] = []
    unplaced: list[UnplacedFile] = []
    for instance, need in ((instance, need) for instance, needs in lacking.items() for need in needs):
        file = need.file or ""
        try:
            target = await asyncio.to_thread(_choose_target, instance, need, folders)
            model = stored.get(file.rpartition("/")[2])
            if model is None:
                raise _make_unstored_error(need)
            placed = await place_file(model, target, lambda _, __: None)
        except (PlacingError, ModelDamagedError, NoModelsFolderError) as error:
            unplaced.append(UnplacedFile(instance=instance, file=file, problem=error.what, hint=error.hint))
        else:
            items.append(_describe(instance, placed))
    return PlacedNeeds(items=tuple(items), unplaced=tuple(unplaced))


def _choose_target(instance: str, need: Need, folders: Mapping[str, Path]) -> Path:
    if instance not in folders:
        hint = "add `modelsFolder` to it in the cluster file"
        raise NoModelsFolderError(f"the instance {instance!r} has no models folder", hint=hint)
    if need.folder is None:
        what = f"the kind of model that {need.where} loads is unknown"
        raise PlacingError(what, hint=f"run `corral models place SOURCE --as KIND/{need.file} --on {instance}`")
    return check_target(folders[instance], f"{need.folder}/{need.file}")


def _make_unstored_error(need: Need) -> PlacingError:
    what = f"the store has no file {need.file!r}"
    return PlacingError(what, hint=f"run `corral models place SOURCE --as {need.folder}/{need.file}`")


def _describe(instance: str, placed: PlacedFile) -> PlacedModel:
    return PlacedModel(
        instance=instance, path=placed.path, size=placed.size, sha256=placed.sha256, written=placed.written
    )


def _choose_folders(cluster: Cluster, on: str | None) -> dict[str, Path]:
    folders = _list_folders(cluster)
    if on is None and folders:
        return folders
    if on in folders:
        return {on: folders[on]}
    otherwise = "add `modelsFolder` to an instance of comfyui in the cluster file"
    hint = did_you_mean(on, folders, otherwise=otherwise) if on is not None and folders else otherwise
    whose = "no instance has" if on is None else f"there is no instance {on!r} with"
    raise NoModelsFolderError(f"{whose} a models folder in the cluster file", where="on", hint=hint)


def _list_folders(cluster: Cluster) -> dict[str, Path]:
    """Return the models folder of each instance that has one."""
    return {
        instance.name: Path(instance.models_folder)
        for settings in cluster.engines.values()
        for instance in settings.instances
        if instance.models_folder is not None
    }
