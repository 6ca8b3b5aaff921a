"""`corral up`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import ClusterFile, DataDir, make_example


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up", epilog=make_example("corral up --cluster examples/edge.yaml"))(up)


def up(
    cluster: ClusterFile = None,
    data_dir: DataDir = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen on this address; any other than loopback needs tokens.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=0, max=65535, help="Listen on this port; 0 takes a free one. Default: 7433."),
    ] = None,
    require_token: Annotated[
        bool, typer.Option("--require-token", help="Ask for a token on loopback, too; its users share this machine.")
    ] = False,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", metavar="FILE", help="Encrypt the port with this certificate chain in PEM."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Take the certificate's key from this file in PEM.")
    ] = None,
) -> None:
    """Run the server in the foreground, until Ctrl-C.

    The PostgreSQL server of the data directory is started with it; CORRAL_DATABASE_URL names another one.
    """
    import asyncio
    import os
    import sys

    from corral.cli.launching import choose_server_data_dir
    from corral.server.process import open_loop
    from corral.server.runtime import serve
    from corral.server.settings import DEFAULT_PORT, ServerSettings
    from corral.server.tls import TlsFiles

    def announce(url: str, make_link: Callable[[], str]) -> None:
        terminal.note(f"corral listens on {url} (data directory {settings.data_dir}); Ctrl-C stops it")
        if sys.stderr.isatty():  # a code that logs in does not belong in a log
            terminal.note(f"console: {make_link()}")
        else:
            terminal.note("console: `corral console` prints a link to it")

    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key go together")
    settings = ServerSettings(
        data_dir=choose_server_data_dir(data_dir, cluster),
        cluster_file=cluster,
        host=host,
        port=DEFAULT_PORT if port is None else port,
        require_token=require_token,
        tls=None if tls_cert is None or tls_key is None else TlsFiles(tls_cert.absolute(), tls_key.absolute()),
        database_url=os.environ.get("CORRAL_DATABASE_URL") or None,
    )
    with asyncio.Runner(loop_factory=open_loop) as runner:
        runner.run(serve(settings, ready=announce))
