"""`corral audit`: who did what to a server."""

from __future__ import annotations

from corral.cli import terminal
from corral.cli.listing import format_ago
from corral.cli.options import AsJson, DataDir, Limit, Url, make_example, make_group
from corral.client.connection import call_server

NAME = "audit"
app = make_group("List who did what to the server, when, from where.", example_command="corral audit list")


@app.command("list", epilog=make_example("corral audit list"))
def list_(limit: Limit = 50, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List acts, newest first, with who did them and from where.

    Acts on tokens, gates, tasks, reloads, collections and backups are listed.
    """
    page = call_server(url, data_dir, lambda api: api.read_page("/corral/v1/audit", [], limit=limit))
    if as_json:
        terminal.put_json(page)
        return
    rows = [
        (
            format_ago(entry["at"]),
            entry["owner"],
            entry["origin"],
            entry["action"],
            entry["subject"],
            ", ".join(f"{name}={value}" for name, value in entry["details"].items()),
        )
        for entry in page["items"]
    ]
    columns = ("when", "who", "from", "did", "to", "details")
    terminal.put_table(columns, rows, empty="nothing was done yet", expendable=("details", "from"))
