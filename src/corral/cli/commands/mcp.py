"""`corral mcp`."""

from __future__ import annotations

import typer

from corral.cli import terminal
from corral.cli.options import DataDir, Url, make_example


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mcp", epilog=make_example("corral mcp"))(mcp)


def mcp(url: Url = None, data_dir: DataDir = None) -> None:
    """Serve tools for assistants (MCP) over stdin and stdout.

    An assistant starts this command by itself, once it is in the assistant's configuration. Each call goes to the
    running server, which has the same tools at `/mcp`.
    """
    from corral.mcp.installed import require_sdk

    require_sdk()
    import asyncio
    import signal
    import sys

    from corral.mcp.located import make_context
    from corral.mcp.serving import serve_stdio

    if sys.stdin.isatty():
        terminal.note("an assistant starts this, and talks to it over stdin; Ctrl-C ends it")
    # The thread that reads stdin cannot be interrupted. This process holds nothing, so a signal can end it anywhere.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    context = make_context(url, data_dir)
    asyncio.run(serve_stdio(lambda _: context))
