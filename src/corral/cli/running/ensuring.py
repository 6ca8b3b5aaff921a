"""Makes sure that the models of a batch are here before it is submitted, and brings those that are missing."""

from __future__ import annotations

from corral.cli import terminal
from corral.cli.pulling import pull
from corral.client.batchfile.reading import Read
from corral.engines.inputs import ENGINES
from corral.errors import CorralError, Kind, Problem
from corral.weights.errors import ModelDamagedError, ModelMissingError
from corral.weights.store import Store


async def ensure_models(read: Read, store: Store) -> None:
    """Return when every model of a local engine is in the store.

    Raises: BatchFileError with every model whose name means nothing, at its place; PullError, DiskFullError.
    """
    unknown: list[Problem] = []
    for engine, model in read.batch.models:
        kind = ENGINES.get(engine)
        if kind is None or not kind.local or not kind.needs_model or is_here(store, model):
            continue
        terminal.say(f"the model {model} is not here yet: fetching it")
        try:
            await pull(store, model)
        except CorralError as error:
            if error.kind is not Kind.INVALID:
                raise
            index = next(index for index, task in enumerate(read.batch.tasks) if task.model == model)
            unknown += [
                Problem(code=one.code, what=one.what, where=f"tasks[{index}].model", hint=one.hint)
                for one in error.problems
            ]
    if unknown:
        raise read.placed(tuple(unknown))


def is_here(store: Store, model: str) -> bool:
    """Whether a model is in the store, as far as its folder tells."""
    try:
        store.path(model)
    except (ModelMissingError, ModelDamagedError):
        return False
    return True
