"""`corral models`: model files on this machine. These commands need no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, DryRun, ModelName, Yes, make_example, make_group
from corral.data_dir import choose_data_dir, models_dir, prepare_data_dir

if TYPE_CHECKING:
    from pathlib import Path

    from corral.weights.store import Store

NAME = "models"
app = make_group("Fetch, find and remove model files on this machine.", example_command="corral models list")


@app.command("list", epilog=make_example("corral models list"))
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the models on this machine, and those of the catalogue that can be fetched."""
    from corral.operations.models import list_models
    from corral.units import format_bytes
    from corral.wire import to_json

    models = list_models(_store(data_dir))
    if as_json:
        terminal.put_json(to_json(models))
        return
    rows = [
        (
            model.name,
            "here" if model.path else "can be fetched",
            format_bytes(model.size) if model.size else "",
            ", ".join(model.engines),
            model.licence,
        )
        for model in models.items
    ]
    terminal.put_table(
        ("model", "state", "size", "engines", "licence"), rows, empty="no models", expendable=("licence", "engines")
    )


@app.command("pull", epilog=make_example("corral models pull smollm2-135m-instruct"))
def pull(model: ModelName, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False) -> None:
    """Fetch a model, verify it, and keep it."""
    import asyncio

    from corral.cli.pulling import pull as bring
    from corral.weights.names import resolve
    from corral.wire import to_json

    store = _store(data_dir)
    if dry_run:
        entry = resolve(model, store.catalogue)
        sources = ", then ".join(str(source) for source in entry.sources)
        terminal.note(f"would fetch {entry.name} from {sources}")
        return
    prepare_data_dir(choose_data_dir(data_dir))
    pulled = asyncio.run(bring(store, model))
    if as_json:
        terminal.put_json(to_json(pulled))
    else:
        terminal.put(f"{pulled.name}: {pulled.path}")


@app.command("path", epilog=make_example("corral models path smollm2-135m-instruct"))
def path(model: ModelName, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the path of a model: the file or folder that an engine opens."""
    from corral.operations.models import find_path
    from corral.wire import to_json

    stored = find_path(_store(data_dir), model)
    if as_json:
        terminal.put_json(to_json(stored))
    else:
        terminal.put(str(stored.path))


@app.command("rm", epilog=make_example("corral models rm smollm2-135m-instruct --yes"))
def rm(model: ModelName, yes: Yes = False, data_dir: DataDir = None, dry_run: DryRun = False) -> None:
    """Remove a model from this machine; the target of a linked one stays."""
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
