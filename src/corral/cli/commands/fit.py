"""`corral fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterFile, DataDir, example
from corral.data_dir import choose_data_dir, models_dir

if TYPE_CHECKING:
    from corral.hardware.fit.profiles import Profile
    from corral.hardware.fit.shape import ModelShape
    from corral.operations.fitting import Cards
    from corral.weights.store import Store

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A file, a model of the store, hf:owner/repo/file, an Ollama name (llama3:8b), or a size (33b@q4_k_m).",
    ),
]
Context = Annotated[int, typer.Option("--ctx", min=1, max=2**24, help="Tokens of context, for each sequence.")]
Parallel = Annotated[int, typer.Option("--parallel", min=1, max=256, help="Sequences at the same time.")]
CacheType = Annotated[str, typer.Option("--cache-type", metavar="TYPE", help="Type of the KV cache: f16, q8_0, q4_0.")]
Gpus = Annotated[
    list[str] | None,
    typer.Option("--gpu", metavar="NAME", help="A GPU of the catalogue; several are judged as a split too."),
]
LayersOnGpu = Annotated[
    int | None, typer.Option("--layers-on-gpu", min=0, help="Put so many layers on the GPU, the rest on the processor.")
]
ProcessorBandwidth = Annotated[
    float | None,
    typer.Option("--cpu-bandwidth", min=0.1, max=10_000, metavar="GB/S", help="Bandwidth of the machine's memory."),
]
NoFlashAttention = Annotated[bool, typer.Option("--no-flash-attention", help="As with llama.cpp's `-fa off`.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit", epilog=example('corral fit llama3:8b --gpu "RTX 5070 Ti"'))(fit)


def fit(
    model: Model,
    context: Context = 4096,
    parallel: Parallel = 1,
    cache_type: CacheType = "f16",
    gpus: Gpus = None,
    cluster: ClusterFile = None,
    layers_on_gpu: LayersOnGpu = None,
    cpu_bandwidth: ProcessorBandwidth = None,
    no_flash_attention: NoFlashAttention = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Say what a model takes in VRAM, where it fits, in which quantization, and how fast it can be at most.

    Sizes of a file are read from its header; of one on Hugging Face, only the header is fetched. A name without a file
    is estimated, and the output says so. The exit code is 5 when cards were named and none holds the model.
    """
    from corral.cli.fits import fit_json, profile_json, put_fit, put_profile
    from corral.hardware.fit.profiles import Profile
    from corral.hardware.fit.running import Running
    from corral.operations.fitting import file_size, judge_profile, judge_shape, require_room

    cards = _cards(gpus or [], cluster)
    running = Running(
        context=context,
        parallel=parallel,
        cache_type_k=cache_type,
        cache_type_v=cache_type,
        flash_attention=not no_flash_attention,
    )
    found, store = _find(model, data_dir)
    if isinstance(found, Profile):
        answer = judge_profile(found, cards, file_size=file_size(model, store))
        terminal.put_json(profile_json(answer)) if as_json else put_profile(answer)
    else:
        answer = judge_shape(found, running, cards, processor_gb_s=cpu_bandwidth, layers_on_gpu=layers_on_gpu)
        terminal.put_json(fit_json(answer)) if as_json else put_fit(answer)
    require_room(answer, model, cards, spilled_is_enough=layers_on_gpu is not None)


def _cards(gpus: list[str], cluster: Path | None) -> Cards:
    from corral.operations.cluster_file import open_cluster
    from corral.operations.fitting import Cards, cards_of_cluster, cards_of_names

    named = cards_of_names(gpus)
    listed = cards_of_cluster(open_cluster(cluster).cluster) if cluster is not None else Cards()
    return Cards(alone=(*named.alone, *listed.alone), groups=(*named.groups, *listed.groups))


def _find(model: str, data_dir: Path | None) -> tuple[ModelShape | Profile, Store]:
    import asyncio

    from corral.operations.fitting import Sources, find_model
    from corral.weights.fetching import Connections
    from corral.weights.store import Store

    store = Store(models_dir(choose_data_dir(data_dir)))
    sources = Sources(store=store, connections=Connections(), on_bytes=_Progress().show)
    return asyncio.run(find_model(model, sources)), store


class _Progress:
    """Says at each doubling how much of a header has arrived."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def show(self, file: str, done: int) -> None:
        from corral.units import format_bytes

        if done >= self._next.get(file, 1):
            terminal.say(f"reading the header of {file}: {format_bytes(done)}")
            self._next[file] = 2 * done
