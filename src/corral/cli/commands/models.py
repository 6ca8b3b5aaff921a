"""`corral models`: model files on this machine. These commands need no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, DryRun, ModelName, Yes, make_example, make_group
from corral.data_dir import choose_data_dir, models_dir, prepare_data_dir

if TYPE_CHECKING:
    from pathlib import Path

    from corral.weights.store import Store
    from corral.weights.values import Entry, Model
    from corral.work import Json

NAME = "models"
app = make_group("Fetch, find and remove model files on this machine.", example_command="corral models list")


@app.command("list", epilog=make_example("corral models list"))
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the models that are here, and those of the catalogue that can be fetched."""
    from corral.units import format_bytes

    store = _store(data_dir)
    here = {model.name: model for model in store.list()}
    items = [_here(model) for model in here.values()]
    items += [_fetchable(entry) for entry in store.catalogue if entry.name not in here]
    if as_json:
        terminal.put_json({"items": items})
        return
    rows = [
        (
            item["name"],
            "here" if item["path"] else "can be fetched",
            format_bytes(item["size"]) if item["size"] else "",
            ", ".join(item["engines"]),
            item["licence"],
        )
        for item in items
    ]
    terminal.put_table(("model", "state", "size", "engines", "licence"), rows, empty="no models")


@app.command("pull", epilog=make_example("corral models pull smollm2-135m-instruct"))
def pull(model: ModelName, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False) -> None:
    """Fetch a model, verify it, and keep it."""
    import asyncio

    from corral.cli.pulling import pull as bring
    from corral.weights.names import resolve

    store = _store(data_dir)
    if dry_run:
        entry = resolve(model, store.catalogue)
        sources = ", then ".join(str(source) for source in entry.sources)
        terminal.note(f"would fetch {entry.name} from {sources}")
        return
    prepare_data_dir(choose_data_dir(data_dir))
    pulled = asyncio.run(bring(store, model))
    if as_json:
        terminal.put_json(_here(pulled))
    else:
        terminal.put(f"{pulled.name}: {pulled.path}")


@app.command("path", epilog=make_example("corral models path smollm2-135m-instruct"))
def path(model: ModelName, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print where a model lies: the file or folder that an engine opens."""
    model_path = _store(data_dir).path(model)
    if as_json:
        terminal.put_json({"model": model, "path": str(model_path)})
    else:
        terminal.put(str(model_path))


@app.command("rm", epilog=make_example("corral models rm smollm2-135m-instruct --yes"))
def rm(model: ModelName, yes: Yes = False, data_dir: DataDir = None, dry_run: DryRun = False) -> None:
    """Remove a model from this machine; one that was linked stays where it lies."""
    import asyncio

    store = _store(data_dir)
    if dry_run:
        terminal.note(f"would remove {model} from {models_dir(choose_data_dir(data_dir))}")
        return
    terminal.confirm(f"remove the model {model}?", agreed=yes)
    asyncio.run(store.remove(model))
    terminal.put(f"{model}: removed")


def _store(data_dir: Path | None) -> Store:
    from corral.weights.store import Store

    return Store(models_dir(choose_data_dir(data_dir)))


def _here(model: Model) -> Json:
    return {
        "name": model.name,
        "path": str(model.path),
        "size": model.size,
        "engines": list(model.engines),
        "licence": model.licence,
        "source": model.source,
        "pulled_at": model.pulled_at.isoformat(),
    }


def _fetchable(entry: Entry) -> Json:
    return {
        "name": entry.name,
        "path": None,
        "size": entry.size,
        "engines": list(entry.engines),
        "licence": entry.licence,
        "source": str(entry.sources[0]),
        "pulled_at": None,
    }
