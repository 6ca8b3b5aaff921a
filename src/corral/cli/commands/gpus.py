"""`corral gpus`: the catalogue of GPU models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, make_example, make_group

if TYPE_CHECKING:
    from corral.operations.gpu_models import ListedGpu

NAME = "gpus"
app = make_group("Look up GPU models in the catalogue.", example_command="corral gpus find 5070ti")

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...", help="The model's name as people, drivers or `lspci` write it, with or without quotes."
    ),
]


_MOST_SHOWN = 30
"""A family of more models than this (`Radeon`) is better narrowed than scrolled."""


@app.command("find", epilog=make_example("corral gpus find RTX 3060"))
def find(words: Words, as_json: AsJson = False) -> None:
    """List the GPU models that a name can mean, and how they differ."""
    from corral.operations.gpu_models import find_models
    from corral.wire import to_json

    models = find_models(" ".join(words))
    if as_json:
        terminal.put_json(to_json(models))
    else:
        _put_candidates(models.items)


@app.command("show", epilog=make_example("corral gpus show RTX 5070 Ti"))
def show(words: Words, as_json: AsJson = False) -> None:
    """Show what the catalogue knows about a GPU model.

    A missing fact is `unknown`.

    A name of several models lists them with what differs, and the exit code is 2.
    """
    from corral.operations.gpu_models import find_models, show_model
    from corral.wire import to_json

    name = " ".join(words)
    models = find_models(name).items
    if len(models) > 1 and not as_json:
        _put_candidates(models)
    model = show_model(name)
    if as_json:
        terminal.put_json(to_json(model))
    else:
        terminal.put_fields(_list_facts(model).items())


def _put_candidates(models: tuple[ListedGpu, ...]) -> None:
    facts = [_list_facts(model) for model in models]
    usual = ("name", "VRAM", "TDP")
    shown = [name for name in facts[0] if name in usual or (name != "source" and _is_different(name, facts))]
    rows = [[model_facts[name] for name in shown] for model_facts in facts[:_MOST_SHOWN]]
    terminal.put_table(shown, rows, empty="", expendable=[name for name in reversed(shown) if name not in usual])
    if len(models) > _MOST_SHOWN:
        terminal.note(f"and {len(models) - _MOST_SHOWN} more; write more of the name")


def _is_different(name: str, facts: list[dict[str, str]]) -> bool:
    return len({model_facts[name] for model_facts in facts}) > 1


def _list_facts(model: ListedGpu) -> dict[str, str]:
    """List what is known, as people read it."""
    from corral.units import format_bytes

    memory = format_bytes(model.memory) if model.memory else "none of its own"
    if model.catalogue_memory:
        memory += f" as written; the catalogue has {format_bytes(model.catalogue_memory)}"
    capability = "" if model.cuda_capability is None else ".".join(map(str, model.cuda_capability))
    cables = "none" if model.power_connectors == "None" else model.power_connectors
    facts = {
        "name": model.name,
        "maker": model.vendor,
        "class": model.gpu_class,
        "VRAM": memory,
        "TDP": _with_unit(model.tdp_w, "W"),
        "bandwidth": _with_unit(model.bandwidth_gb_s, "GB/s"),
        "architecture": model.architecture,
        "chip": model.chip,
        "CUDA": capability,
        "bus": model.bus,
        "suggested PSU": _with_unit(model.suggested_psu_w, "W"),
        "connectors": cables,
        "slots": model.slot_width,
        "length": _with_unit(model.length_mm, "mm"),
        "width": _with_unit(model.width_mm, "mm"),
        "released": None if model.released is None else model.released.isoformat(),
        "source": model.source,
    }
    return {name: value or "unknown" for name, value in facts.items()}


def _with_unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:g} {unit}"
