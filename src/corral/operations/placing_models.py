"""Model files for programs elsewhere: from the store, or first into it, into the models folders of instances.

An instance has such a folder where the cluster file says so: on this machine, or on a share that both see. Once a file
is there, a task finds it by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.cluster.values import Cluster
from corral.errors import CorralError, Kind, did_you_mean
from corral.units import Bytes
from corral.weights.placing import check_target, place_file
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
    targets = {instance: check_target(folder, asked.name) for instance, folder in folders.items()}

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
        items.append(
            PlacedModel(
                instance=instance, path=placed.path, size=placed.size, sha256=placed.sha256, written=placed.written
            )
        )
    return PlacedModels(model=model.name, name=asked.name, items=tuple(items))


def _choose_folders(cluster: Cluster, on: str | None) -> dict[str, Path]:
    folders = {
        instance.name: Path(instance.models_folder)
        for settings in cluster.engines.values()
        for instance in settings.instances
        if instance.models_folder is not None
    }
    if on is None and folders:
        return folders
    if on in folders:
        return {on: folders[on]}
    otherwise = "add `modelsFolder` to an instance of comfyui in the cluster file"
    hint = did_you_mean(on, folders, otherwise=otherwise) if on is not None and folders else otherwise
    whose = "no instance has" if on is None else f"there is no instance {on!r} with"
    raise NoModelsFolderError(f"{whose} a models folder in the cluster file", where="on", hint=hint)
