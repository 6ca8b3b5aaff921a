"""Options that several commands have, with one spelling and one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ROOT = "corral"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="CORRAL_URL",
        metavar="URL",
        help="Use this server, with the token in CORRAL_TOKEN. Default: the server of the data directory.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="CORRAL_DATA_DIR",
        metavar="FOLDER",
        help="Keep the database, artifacts and models in this folder. Default: the user's data directory.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in the shape of the HTTP API.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print everything, not the answer alone.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Agree to the question in advance.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        "-c",
        metavar="FILE",
        help="Read this cluster file. Default: `cluster.yaml` in the data directory.",
    ),
]
ClusterHere = Annotated[
    Path | None,
    typer.Option("--cluster", "-c", metavar="FILE", help="Read this cluster file. Default: `cluster.yaml` here."),
]
ClusterArgument = Annotated[
    Path | None,
    typer.Argument(metavar="CLUSTER", help="The cluster file. Default: `cluster.yaml` in this folder."),
]
BatchFile = Annotated[Path, typer.Argument(metavar="FILE", help="A batch file; `corral schema --batch` describes it.")]
TaskId = Annotated[int, typer.Argument(metavar="TASK", help="The task's number.", min=1)]
TaskIds = Annotated[list[int], typer.Argument(metavar="TASK...", help="Numbers of tasks.", min=1)]
BatchId = Annotated[int, typer.Argument(metavar="BATCH", help="The batch's number.", min=1)]
SlotNames = Annotated[
    list[str],
    typer.Argument(metavar="SLOT...", help="Slots such as `node/gpu0/llama`, or devices such as `node/gpu0`."),
]
SlotName = Annotated[str, typer.Argument(metavar="SLOT", help="A slot such as `node/gpu0/llama`.")]
DeviceNames = Annotated[list[str], typer.Argument(metavar="GPU...", help="Devices such as `node/gpu0`.")]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.")]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A name of the catalogue, hf:owner/repo/file, a URL, or a path (./FILE)."),
]
Instance = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="INSTANCE",
        help="Do it on this Ollama server: its name in the cluster file, or its slot.",
    ),
]
OneInstance = Annotated[
    str,
    typer.Option("--on", metavar="INSTANCE", help="The Ollama server: its name in the cluster file, or its slot."),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="List at most so many.")]
Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="FOLDER", help="Write the outputs to a folder in FOLDER, named after the batch."
    ),
]


def make_example(command: str) -> str:
    """Make the last line of a command's help; a test runs those that need nothing else."""
    return f"Example: {command}"


def make_group(help: str, *, example_command: str) -> typer.Typer:
    """Make the group of commands about one kind of thing."""
    return typer.Typer(
        help=help,
        epilog=make_example(example_command),
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
    )
