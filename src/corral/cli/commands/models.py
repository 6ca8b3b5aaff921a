"""`corral models`: model files on this machine, and, with `--on`, models on Ollama servers.

Model files need no Corral server. An Ollama server is asked by the one that has it in its cluster file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import (
    AsJson,
    DataDir,
    DryRun,
    Instance,
    ModelName,
    OneInstance,
    Url,
    Yes,
    make_example,
    make_group,
)
from corral.data_dir import choose_data_dir, models_dir, prepare_data_dir

if TYPE_CHECKING:
    from pathlib import Path

    from corral.weights.store import Store

NAME = "models"
app = make_group("Manage model files on this machine and on Ollama servers.", example_command="corral models list")
EVERYWHERE = "all"
"""In place of an instance: every one of them."""
Keep = Annotated[
    str | None,
    typer.Option("--keep", metavar="TIME", help="Keep it for so long: 30m, or seconds; -1 is for ever."),
]


@app.command("list", epilog=make_example("corral models list"))
def list_(on: Instance = None, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List models: here, to fetch, or (`--on all`) on Ollama servers."""
    if on is not None:
        from corral.cli import hosted_models

        hosted_models.list_models(None if on == EVERYWHERE else on, url=url, data_dir=data_dir, as_json=as_json)
        return
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
def pull(
    model: ModelName,
    on: Instance = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Fetch and verify a model, here or (`--on`) on an Ollama server."""
    if on is not None:
        from corral.cli import hosted_models

        if dry_run:
            terminal.note(f"would pull {model} on {on}")
            return
        hosted_models.pull_model(model, on, url=url, data_dir=data_dir, as_json=as_json)
        return
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


@app.command("place", epilog=make_example("corral models place ./paint.safetensors --as loras/p.safetensors"))
def place(
    model: ModelName,
    name: Annotated[
        str,
        typer.Option("--as", metavar="KIND/FILE", help="The kind of model and the file: loras/paint.safetensors."),
    ],
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="INSTANCE", help="Place it for this instance. Default: all with a models folder."),
    ] = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Place a model file where instances of ComfyUI look for it.

    It is placed whole and verified, or not at all. It comes from the store of the server, into which it is pulled
    first. An instance has such a folder where the cluster file has `modelsFolder`.
    """
    from corral.cli import hosted_models
    from corral.weights.names import spell_local

    if dry_run:
        terminal.note(f"would place {model} as {name} on {on or 'every instance with a models folder'}")
        return
    asked = {"model": spell_local(model), "name": name, "on": on}
    hosted_models.place_model(asked, url=url, data_dir=data_dir, as_json=as_json)


@app.command("path", epilog=make_example("corral models path smollm2-135m-instruct"))
def path(model: ModelName, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the file or folder of a model that an engine opens."""
    from corral.operations.models import find_path
    from corral.wire import to_json

    stored = find_path(_store(data_dir), model)
    if as_json:
        terminal.put_json(to_json(stored))
    else:
        terminal.put(str(stored.path))


@app.command("load", epilog=make_example("corral models load llama3.2 --on ollama --keep 30m"))
def load(
    model: ModelName,
    on: OneInstance,
    keep: Keep = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Load a model on an Ollama server, and keep it loaded."""
    from corral.cli import hosted_models

    if dry_run:
        terminal.note(f"would load {model} on {on}")
        return
    asked = {"model": model, "on": on, "keep": keep}
    hosted_models.change_model("load", asked, url=url, data_dir=data_dir, as_json=as_json)


@app.command("unload", epilog=make_example("corral models unload llama3.2 --on ollama"))
def unload(
    model: ModelName,
    on: OneInstance,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Unload a model from the memory of an Ollama server.

    One that is at work goes when it is done.
    """
    from corral.cli import hosted_models

    if dry_run:
        terminal.note(f"would unload {model} on {on}")
        return
    hosted_models.change_model("unload", {"model": model, "on": on}, url=url, data_dir=data_dir, as_json=as_json)


@app.command("rm", epilog=make_example("corral models rm smollm2-135m-instruct --yes"))
def rm(
    model: ModelName,
    on: Instance = None,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Remove a model, here or (`--on`) from an Ollama server.

    The target of a linked file stays.
    """
    from corral.operations.models import remove_model
    from corral.wire import to_json

    if on is not None:
        from corral.cli import hosted_models

        if dry_run:
            terminal.note(f"would remove {model} from {on}")
            return
        terminal.confirm(f"remove the model {model} from {on}?", agreed=yes)
        answer = hosted_models.delete_model(model, on, url=url, data_dir=data_dir)
        if as_json:
            terminal.put_json(answer)
        else:
            terminal.put(f"{model}: removed from {answer['instance']}")
        return
    import asyncio

    store = _store(data_dir)
    if dry_run:
        terminal.note(f"would remove {model} from {models_dir(choose_data_dir(data_dir))}")
        return
    terminal.confirm(f"remove the model {model}?", agreed=yes)
    removed = asyncio.run(remove_model(store, model))
    if as_json:
        terminal.put_json(to_json(removed))
    else:
        terminal.put(f"{model}: removed")


def _store(data_dir: Path | None) -> Store:
    from corral.weights.store import Store

    return Store(models_dir(choose_data_dir(data_dir)))
