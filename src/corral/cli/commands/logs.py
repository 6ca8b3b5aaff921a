"""`corral logs`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.clusters import Context, LayoutName, run_on_cluster
from corral.cli.options import ClusterHere, make_example

if TYPE_CHECKING:
    from corral.kubernetes.api import Api

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="A service of the cluster file.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on printing new lines.")]
Lines = Annotated[
    int | None, typer.Option("--lines", "-n", min=0, help="Print so many of the last lines. Default: all.")
]
Previous = Annotated[bool, typer.Option("--previous", help="Print the log of the container before its last restart.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs", epilog=make_example("corral logs ollama --follow"))(logs)


def logs(
    service: Service,
    cluster: ClusterHere = None,
    layout: LayoutName = None,
    context: Context = None,
    follow: Follow = False,
    lines: Lines = None,
    previous: Previous = False,
) -> None:
    """Print the logs of a service, on Kubernetes or under Compose.

    Lines of several pods begin with the pod's name. A file without `kubernetes:` means Compose on this machine.
    """
    from corral.operations.cluster_file import check_cluster, read_cluster_file
    from corral.operations.deploying.logs import print_logs, write_compose_command

    file = read_cluster_file(cluster)
    checked = check_cluster(file)
    if checked.cluster.kubernetes is None:
        _run_in_place(write_compose_command(checked, service, layout, follow=follow, lines=lines))

    async def work(api: Api) -> None:
        await print_logs(api, file, service, layout, terminal.put, follow=follow, lines=lines, previous=previous)

    run_on_cluster(context, work)


def _run_in_place(words: tuple[str, ...]) -> None:
    """Become another program, so that its output and its end are this command's. Raises: NoComposeError."""
    from corral.operations.deploying.logs import NoComposeError

    try:
        os.execvp(words[0], words)
    except FileNotFoundError as error:
        raise NoComposeError(
            f"{words[0]} is not installed here", hint="install Docker with its Compose plugin"
        ) from error
