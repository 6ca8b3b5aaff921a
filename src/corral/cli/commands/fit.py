"""`corral fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, Verbose, make_example
from corral.data_dir import choose_data_dir, models_dir

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A file, a model of the store, hf:owner/repo/file, an Ollama name (llama3:8b), a repository (owner/name, "
        "16 bits unless its name says otherwise), or a size (33b@q4_k_m).",
    ),
]
Context = Annotated[
    int, typer.Option("--ctx", min=1, max=2**24, help="Keep so many tokens of context for each sequence.")
]
Parallel = Annotated[int, typer.Option("--parallel", min=1, max=256, help="Run so many sequences at the same time.")]
CacheType = Annotated[
    str, typer.Option("--cache-type", metavar="TYPE", help="Keep the KV cache in this type: f16, q8_0, q4_0.")
]
Gpus = Annotated[
    list[str] | None,
    typer.Option(
        "--gpu", metavar="NAME", help="Judge this GPU of the catalogue (repeatable; several are judged as a split too)."
    ),
]
JudgedCluster = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        "-c",
        metavar="FILE",
        help="Judge the GPUs of this cluster file; those of a node are judged as a split too.",
    ),
]
LayersOnGpu = Annotated[
    int | None, typer.Option("--layers-on-gpu", min=0, help="Put so many layers on the GPU, the rest on the processor.")
]
ExpertsOnProcessor = Annotated[
    int | None,
    typer.Option(
        "--n-cpu-moe", min=0, metavar="LAYERS", help="Keep the experts of so many layers in main memory (llama.cpp)."
    ),
]
ProcessorBandwidth = Annotated[
    float | None,
    typer.Option(
        "--cpu-bandwidth",
        min=0.1,
        max=10_000,
        metavar="GB/S",
        help="Take this as the bandwidth of the machine's memory.",
    ),
]
NoFlashAttention = Annotated[
    bool, typer.Option("--no-flash-attention", help="Compute without flash attention, as llama.cpp's `-fa off`.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit", epilog=make_example('corral fit llama3:8b --gpu "RTX 5070 Ti"'))(fit)


def fit(
    model: Model,
    context: Context = 4096,
    parallel: Parallel = 1,
    cache_type: CacheType = "f16",
    gpus: Gpus = None,
    cluster: JudgedCluster = None,
    layers_on_gpu: LayersOnGpu = None,
    experts_on_processor: ExpertsOnProcessor = None,
    cpu_bandwidth: ProcessorBandwidth = None,
    no_flash_attention: NoFlashAttention = False,
    data_dir: DataDir = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Print whether a model fits, on which GPUs, and how fast.

    The answer names quantizations and the highest possible speed. Sizes of a file are read from its header; of one
    on Hugging Face, only the header is fetched. A name without a file is judged by the published dimensions of that
    model, a plain size (33b@q4_k_m) by those of a dense model nearest in size, and the output says so. The exit code
    is 5 when GPUs were named and none holds the model.
    """
    import asyncio

    from corral.cli.fits import put_fit, put_pipeline, put_profile
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.fitting import (
        FitAsked,
        PipelineFit,
        ProfileFit,
        Sources,
        answer_fit,
        fit_model,
        require_room,
    )
    from corral.weights.fetching import Connections
    from corral.weights.store import Store
    from corral.wire import to_json

    asked = FitAsked(
        model=model,
        context=context,
        parallel=parallel,
        cache_type=cache_type,
        flash_attention=not no_flash_attention,
        gpus=tuple(gpus or ()),
        cluster=None if cluster is None else read_cluster_file(cluster),
        layers_on_gpu=layers_on_gpu,
        experts_on_processor=experts_on_processor,
        cpu_bandwidth_gb_s=cpu_bandwidth,
    )
    store = Store(models_dir(choose_data_dir(data_dir)))
    sources = Sources(store=store, connections=Connections(), on_bytes=_Progress().show)
    fitted = asyncio.run(fit_model(asked, sources))
    if as_json:
        terminal.put_json(to_json(answer_fit(fitted)))
    elif isinstance(fitted.judged, PipelineFit):
        put_pipeline(fitted.judged)
    elif isinstance(fitted.judged, ProfileFit):
        put_profile(fitted.judged)
    else:
        put_fit(fitted.judged, verbose=verbose)
    require_room(fitted)


class _Progress:
    """Says at each doubling how much of a header has arrived."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def show(self, file: str, done: int) -> None:
        from corral.units import format_bytes

        if done >= self._next.get(file, 1):
            terminal.note(f"reading the header of {file}: {format_bytes(done)}")
            self._next[file] = 2 * done
