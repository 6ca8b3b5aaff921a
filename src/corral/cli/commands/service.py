"""`corral service`: the server as a service of systemd."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import ClusterFile, DataDir, DryRun, Yes, make_example, make_group

if TYPE_CHECKING:
    from corral.operations.service import Step

NAME = "service"
app = make_group("Run the server as a service of systemd.", example_command="corral service install --dry-run")

System = Annotated[bool, typer.Option("--system", help="For the machine, as root; without it, for this user.")]


@app.command("install", epilog=make_example("corral service install --dry-run"))
def install(
    system: System = False,
    cluster: ClusterFile = None,
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Listen on this address.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", min=1, max=65535, help="Listen on this port.")] = None,
    run_as: Annotated[
        str | None,
        typer.Option(metavar="USER", help="With --system: run as this user. Default: the one who called sudo."),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Write a unit of systemd and start it.

    The server then runs until `corral service uninstall`.
    """
    from corral.cli.launching import choose_server_data_dir
    from corral.operations import service

    user = (run_as or os.environ.get("SUDO_USER") or getpass.getuser()) if system else getpass.getuser()
    folder = service.SYSTEM_DATA_DIR if system and data_dir is None else choose_server_data_dir(data_dir, cluster)
    options = [*(["--host", host] if host else []), *(["--port", str(port)] if port else [])]
    text = service.render_unit(
        service.Service(
            system=system,
            user=user,
            data_dir=folder,
            cluster_file=None if cluster is None else cluster.absolute(),
            options=tuple(options),
        )
    )
    path, steps = _find_unit(system=system), service.list_install_steps(system=system)
    if dry_run:
        terminal.put(f"# {path}\n{text}".rstrip())
        _note_steps(steps)
        return
    if path.exists() and path.read_text(encoding="utf-8") != text:
        terminal.confirm(f"replace {path}?", agreed=yes)
    service.install(path, text, steps, _run)
    terminal.put(f"installed {path}; `journalctl {'' if system else '--user '}-u corral` has its log")
    if not system:
        terminal.note("it ends when you log out, unless `loginctl enable-linger` was called once")


@app.command("uninstall", epilog=make_example("corral service uninstall --dry-run"))
def uninstall(system: System = False, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Stop the service and remove its unit; the data stays."""
    from corral.operations import service

    path, steps = _find_unit(system=system), service.list_uninstall_steps(system=system)
    if dry_run:
        _note_steps(steps)
        terminal.note(f"then remove {path}")
        return
    if not path.exists():
        raise service.ServiceError(f"the service is not installed: there is no {path}")
    terminal.confirm("stop the server and remove its service?", agreed=yes)
    service.uninstall(path, steps, _run)
    terminal.put(f"removed {path}")


def _find_unit(*, system: bool) -> Path:
    from corral.operations.service import find_unit

    base = os.environ.get("XDG_CONFIG_HOME")
    return find_unit(system=system, config_home=Path(base) if base else Path.home() / ".config")


def _note_steps(steps: Sequence[Step]) -> None:
    for step in steps:
        terminal.note(f"then {' '.join(step.command)}  ({step.why})")


def _run(command: Sequence[str]) -> None:
    import subprocess

    from corral.operations.service import ServiceError

    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        what = f"cannot run {command[0]}: {error.strerror}"
        raise ServiceError(what, hint="`corral up` runs the server without systemd") from error
    if done.returncode != 0:
        what = f"`{' '.join(command)}` ended with {done.returncode}: {' '.join(done.stderr.split())[:500]}"
        raise ServiceError(
            what, hint="`journalctl -u corral` has the server's log, with --user that of a user's service"
        )
