"""`corral run`."""

from __future__ import annotations

from pathlib import Path

import typer

from corral.cli.options import AsJson, BatchFile, ClusterFile, DataDir, DryRun, Out, Url, make_example


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", epilog=make_example("corral run examples/first-batch.yaml"))(run)


def run(
    file: BatchFile,
    out: Out = Path("out"),
    cluster: ClusterFile = None,
    data_dir: DataDir = None,
    url: Url = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Run a batch and watch it until it ends.

    Models are fetched, a server is started if none runs, outputs are written. A batch of the same content that has
    not finished is continued; one that has finished is run anew. Ctrl-C asks what to do with running work. The exit
    code is 0 only if every task succeeded, and 1 if one did not.
    """
    import asyncio

    from corral.batchfile.reading import open_batch_file
    from corral.cli import terminal
    from corral.cli.launching import choose_server_data_dir
    from corral.cli.listing import put_batch_file
    from corral.cli.running.session import Run
    from corral.client.connection import locate
    from corral.client.converting import make_converter

    if dry_run:
        read = open_batch_file(file, make_converter(url, data_dir, terminal.note))
        put_batch_file(read.batch, as_json=as_json)
        return
    job = Run(
        file=file,
        out=out,
        data_dir=choose_server_data_dir(data_dir, cluster),
        cluster_file=cluster,
        elsewhere=locate(url, None) if url is not None else None,
        as_json=as_json,
    )
    raise typer.Exit(asyncio.run(job.execute()))
