"""Lists, fetches and finds the model files of a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from corral.weights.store import Store
from corral.weights.values import Entry, Model, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model of the store, or one of the catalogue that can be fetched."""

    name: str
    path: Path | None
    """The file that an engine opens; null for a model that can be fetched."""
    size: int | None
    engines: tuple[str, ...]
    licence: str | None
    source: str
    pulled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """The models of the store, and those of the catalogue that can be fetched."""

    items: tuple[ListedModel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullAsked:
    """A model to fetch."""

    model: str
    """A name of the catalogue, `hf:owner/repo/file`, a URL or a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAsked:
    """A model to delete from the store."""

    model: str
    """Its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedModel:
    """A model that is gone."""

    instance: str | None
    """Null for one of the store."""
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPath:
    """Where a model is stored."""

    model: str
    path: Path
    """The file or folder that an engine opens."""


def list_models(store: Store) -> ModelList:
    """List the models of a store, and those of its catalogue that can be fetched."""
    stored = {model.name: model for model in store.list()}
    fetchable = [entry for entry in store.catalogue if entry.name not in stored]
    return ModelList(items=(*map(_list_stored, stored.values()), *map(_list_fetchable, fetchable)))


async def pull_model(store: Store, asked: PullAsked, on_progress: Callable[[Progress], None]) -> ListedModel:
    """Fetch a model, verify it, and keep it. Raises: what `Store.pull` raises."""
    return _list_stored(await store.pull(asked.model, on_progress))


async def remove_model(store: Store, model: str) -> DeletedModel:
    """Delete a model from a store; of a linked one, the link alone. Raises: ModelMissingError."""
    await store.remove(model)
    return DeletedModel(instance=None, model=model)


def find_path(store: Store, model: str) -> ModelPath:
    """Return where a model is stored. Raises: ModelNameError, ModelMissingError, ModelDamagedError."""
    return ModelPath(model=model, path=store.path(model))


def _list_stored(model: Model) -> ListedModel:
    return ListedModel(
        name=model.name,
        path=model.path,
        size=model.size,
        engines=model.engines,
        licence=model.licence,
        source=model.source,
        pulled_at=model.pulled_at,
    )


def _list_fetchable(entry: Entry) -> ListedModel:
    return ListedModel(
        name=entry.name,
        path=None,
        size=entry.size,
        engines=entry.engines,
        licence=entry.licence,
        source=str(entry.sources[0]),
        pulled_at=None,
    )
