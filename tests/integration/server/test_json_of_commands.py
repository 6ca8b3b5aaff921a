"""What `--json` prints is the answer of the command's route, field for field.

The commands are read from the command line itself, so one that is new and has `--json` fails here until it has a row.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from corral.cli.main import app, run_command
from corral.client.batchfile.reading import open_batch_file
from corral.server.services import Services
from corral.weights.store import Store
from doubles.serving import Serving

EXAMPLES = Path(__file__).parents[3] / "examples"
HYDRA = EXAMPLES / "hydra" / "cluster.yaml"
BEFORE = EXAMPLES / "hydra" / "before.yaml"
CHANGES = [
    {"word": "replace", "value": "hydra-compute/gpu1=RTX 5070 Ti"},
    {"word": "psu", "value": "hydra-compute=1000"},
]
MANIFEST = Path(__file__).parents[2] / "unit" / "linting" / "rules" / "A02" / "bad.yaml"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A command as people type it, and the request that it stands for."""

    arguments: Sequence[str]
    method: str = "POST"
    path: str
    body: Any = None


def text_of(path: Path) -> dict[str, str]:
    return {"text": path.read_text(), "name": str(path)}


ROWS = {
    "plan": Row(arguments=("plan", str(HYDRA)), path="/plan", body={"cluster": text_of(HYDRA)}),
    "power": Row(arguments=("power", str(HYDRA)), path="/power", body={"cluster": text_of(HYDRA)}),
    "fit": Row(
        arguments=("fit", "llama3:8b", "--gpu", "RTX 5070 Ti", "--ctx", "8192"),
        path="/fit",
        body={"model": "llama3:8b", "gpus": ["RTX 5070 Ti"], "context": 8192},
    ),
    "forecast": Row(
        arguments=("forecast", str(HYDRA), "--spread", "20%"),
        path="/forecast",
        body={"cluster": text_of(HYDRA), "spread": "20%"},
    ),
    "forecast --batch": Row(
        arguments=("forecast", str(HYDRA), "--batch", str(EXAMPLES / "first-batch.yaml")),
        path="/forecast/batch",
        body={
            "cluster": text_of(HYDRA),
            "tasks": [dict(task.body) for task in open_batch_file(EXAMPLES / "first-batch.yaml").batch.tasks],
        },
    ),
    "render": Row(
        arguments=("render", str(HYDRA), "--only", "kueue,nginx", "--layout", "pool"),
        path="/render",
        body={"cluster": text_of(HYDRA), "only": ["kueue", "nginx"], "layouts": ["pool"]},
    ),
    "render --targets": Row(arguments=("render", "--targets"), method="GET", path="/render/targets"),
    "lint": Row(
        arguments=("lint", str(MANIFEST), "--cluster", str(HYDRA)),
        path="/lint",
        body={"files": [text_of(MANIFEST)], "cluster": text_of(HYDRA)},
    ),
    "lint --rules": Row(arguments=("lint", "--rules"), method="GET", path="/lint/rules"),
    "lint --explain": Row(arguments=("lint", "--explain", "A02"), method="GET", path="/lint/rules/A02"),
    "models list": Row(arguments=("models", "list", "--data-dir", "{data}"), method="GET", path="/models"),
    "models pull": Row(
        arguments=("models", "pull", "{data}/tiny.gguf", "--data-dir", "{data}"),
        path="/models/pull",
        body={"model": "{data}/tiny.gguf"},
    ),
    "models path": Row(
        arguments=("models", "path", "{data}/tiny.gguf", "--data-dir", "{data}"),
        method="GET",
        path="/models/path?model={data}/tiny.gguf",
    ),
    "inventory": Row(arguments=("inventory", "--node", "desk"), method="GET", path="/inventory?node=desk"),
    "inventory --merge": Row(
        arguments=("inventory", "--merge", str(HYDRA), "--node", "hydra-compute", "--dry-run"),
        path="/inventory/merge",
        body={"cluster": text_of(HYDRA), "node": "hydra-compute"},
    ),
    "doctor": Row(arguments=("doctor", "--data-dir", "{data}"), method="GET", path="/doctor"),
    "upgrade": Row(
        arguments=(
            "upgrade",
            str(BEFORE),
            "--replace",
            "hydra-compute/gpu1=RTX 5070 Ti",
            "--psu",
            "hydra-compute=1000",
        ),
        path="/upgrade",
        body={"cluster": text_of(BEFORE), "changes": CHANGES},
    ),
    "checklist": Row(
        arguments=(
            *("checklist", str(BEFORE), "--data-dir", "{data}"),
            *("--replace", "hydra-compute/gpu1=RTX 5070 Ti", "--psu", "hydra-compute=1000"),
        ),
        path="/checklist",
        body={"cluster": text_of(BEFORE), "changes": CHANGES},
    ),
    "gpus find": Row(arguments=("gpus", "find", "RTX", "3060"), method="GET", path="/gpus?name=RTX 3060"),
    "gpus show": Row(arguments=("gpus", "show", "RTX 5070 Ti"), method="GET", path="/gpus/RTX 5070 Ti"),
}
WITHOUT_ROUTE: dict[str, str] = {}
"""Commands whose `--json` is no route's answer, and why."""


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[str]:  # click's own types are not public
    """Yield every command that has `--json`."""
    group = group or get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        elif any("--json" in parameter.opts for parameter in command.params):
            yield " ".join((*path, name))


@pytest.mark.parametrize("command", ROWS)
async def test_json_of_a_command_is_the_answer_of_its_route(
    api: Serving, services: Services, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (services.data_dir / "tiny.gguf").write_bytes(b"GGUF, as far as the store looks")
    await Store(services.data_dir / "models").pull(str(services.data_dir / "tiny.gguf"))
    row = filled(ROWS[command], services.data_dir)
    answered = await api.call(row.method, f"/corral/v1{row.path}", json=row.body)
    assert answered.status == 200, answered.body

    await asyncio.to_thread(run_command, [*row.arguments, "--json"])

    printed = json.loads(capsys.readouterr().out)
    assert steady(command, printed) == steady(command, answered.json)


def filled(row: Row, data_dir: Path) -> Row:
    """Put this test's data directory into a row."""
    text = json.dumps([list(row.arguments), row.path, row.body]).replace("{data}", str(data_dir))
    arguments, path, body = json.loads(text)
    return replace(row, arguments=arguments, path=path, body=body)


def steady(command: str, answer: Any) -> Any:
    """Leave out what differs between two looks at one machine: free memory, and whether a server is announced."""
    if command == "checklist":
        return {**answer, "started_at": None}  # it begins whenever it is looked at, until an answer is kept
    if command != "doctor":
        return answer
    return [
        {**finding, "what": re.sub(r"[0-9.]+", "N", finding["what"])}
        for finding in answer["items"]
        if finding["name"] not in ("server", "database")
    ]
