"""What `--json` prints is the answer of the command's route, field for field.

The commands are read from the command line itself, so one that is new and has `--json` fails here until it has a row.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from corral.batchfile.reading import open_batch_file
from corral.cli.main import app, run_command
from corral.server.services import Services
from corral.weights.store import Store
from doubles import queue_life
from doubles.picture_sets import a_sleeping_set
from doubles.serving import Serving
from doubles.slots_shown import a_place_view

EXAMPLES = Path(__file__).parents[3] / "examples"
PORTRAIT = EXAMPLES / "portraits" / "portrait.json"
HYDRA = EXAMPLES / "hydra" / "cluster.yaml"
BEFORE = EXAMPLES / "hydra" / "before.yaml"
CHANGES = [
    {"word": "replace", "value": "hydra-compute/gpu1=RTX 5070 Ti"},
    {"word": "psu", "value": "hydra-compute=1000"},
]
MANIFEST = Path(__file__).parents[2] / "unit" / "linting" / "rules" / "A02" / "bad.yaml"


NAP = {"name": "nap", "engine": "sleep", "inputs": {"seconds": 1}, "labels": {"project": "aurora"}}
SLEEP = {"engine": "sleep", "inputs": {"seconds": 0}}
GROUP = a_place_view("sleep", "hold", device="node/cpu0", log=MANIFEST)


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
        arguments=("models", "pull", "{data}/tiny.bin", "--data-dir", "{data}"),
        path="/models/pull",
        body={"model": "{data}/tiny.bin"},
    ),
    "models path": Row(
        arguments=("models", "path", "{data}/tiny.bin", "--data-dir", "{data}"),
        method="GET",
        path="/models/path?model={data}/tiny.bin",
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
OF_THE_QUEUE = {
    "tasks list": Row(
        arguments=("tasks", "list", "--limit", "2", "--label", "project=aurora"),
        method="GET",
        path="/tasks?limit=2&label=project%3Daurora",
    ),
    "tasks explain": Row(arguments=("tasks", "explain", "6"), method="GET", path="/tasks/6/explain"),
    "tasks cancel": Row(arguments=("tasks", "cancel", "5"), path="/tasks/5/cancel"),
    "tasks priority": Row(
        arguments=("tasks", "priority", "high", "5"), path="/tasks/5/priority", body={"priority": "high"}
    ),
    "tasks retry": Row(arguments=("tasks", "retry", "1"), method="GET", path="/tasks/8"),
    "tasks wait": Row(arguments=("tasks", "wait", "1"), method="GET", path="/tasks/1/wait"),
    "batches list": Row(arguments=("batches", "list", "--limit", "1"), method="GET", path="/batches?limit=1"),
    "batches cancel": Row(arguments=("batches", "cancel", "1", "--yes"), path="/batches/1/cancel"),
    "sets list": Row(arguments=("sets", "list"), method="GET", path="/sets"),
    "sets show": Row(arguments=("sets", "show", "naps"), method="GET", path="/sets/naps"),
    "sets stale": Row(arguments=("sets", "stale", "naps"), method="GET", path="/sets/naps/stale"),
    "sets measures": Row(
        arguments=("sets", "measures", "naps", "--by", "seed"), method="GET", path="/sets/naps/measures?by=seed"
    ),
    "sets reject": Row(
        arguments=("sets", "reject", "naps", "ada/nap/1"), path="/sets/naps/reject", body={"keys": ["ada/nap/1"]}
    ),
    "sets cancel": Row(arguments=("sets", "cancel", "naps", "--yes"), path="/sets/naps/cancel"),
    "characters list": Row(arguments=("characters", "list"), method="GET", path="/characters"),
    "characters show": Row(arguments=("characters", "show", "elena"), method="GET", path="/characters/elena"),
    "characters history": Row(
        arguments=("characters", "history", "elena"), method="GET", path="/characters/elena/history"
    ),
    "slots list": Row(arguments=("slots", "list"), method="GET", path="/slots"),
    "slots pause": Row(
        arguments=("slots", "pause", "node/cpu0", "node/cpu0/sleep"),
        path="/slots/pause",
        body={"slots": ["node/cpu0", "node/cpu0/sleep"]},
    ),
    "slots resume": Row(
        arguments=("slots", "resume", "node/cpu0"), path="/slots/resume", body={"slots": ["node/cpu0"]}
    ),
    "slots drain": Row(
        arguments=("slots", "drain", "node/cpu0/sleep", "--yes"),
        path="/slots/drain",
        body={"slots": ["node/cpu0/sleep"]},
    ),
    "slots logs": Row(
        arguments=("slots", "logs", "node/cpu0/sleep", "--lines", "2"),
        method="GET",
        path="/slots/logs?slot=node/cpu0/sleep&lines=2",
    ),
    "holds list": Row(arguments=("holds", "list"), method="GET", path="/holds"),
    "holds show": Row(arguments=("holds", "show", "7"), method="GET", path="/holds/7"),
    "holds release": Row(arguments=("holds", "release", "7"), method="DELETE", path="/holds/7?grace=20"),
    "slots yield": Row(
        arguments=("slots", "yield", "node/cpu0"),
        path="/slots/yield",
        body={"devices": ["node/cpu0"], "for_s": None, "now": False},
    ),
    "slots take-back": Row(
        arguments=("slots", "take-back", "node/cpu0"), path="/slots/take-back", body={"devices": ["node/cpu0"]}
    ),
    "queues list": Row(arguments=("queues", "list"), method="GET", path="/queues"),
    "queues pause": Row(arguments=("queues", "pause", "small"), path="/queues/small/pause"),
    "queues resume": Row(arguments=("queues", "resume", "small"), path="/queues/small/resume"),
    "queues drain": Row(arguments=("queues", "drain", "small", "--yes"), path="/queues/small/drain"),
    "engines check": Row(
        arguments=("engines", "check", str(PORTRAIT)),
        path="/engines/comfyui/check",
        body={"inputs": {"workflow": json.loads(PORTRAIT.read_text())}},
    ),
    "tokens list": Row(arguments=("tokens", "list"), method="GET", path="/tokens"),
    "usage": Row(arguments=("usage", "--by", "model"), method="GET", path="/usage?by=model"),
    "audit list": Row(arguments=("audit", "list", "--limit", "2"), method="GET", path="/audit?limit=2"),
    "notify list": Row(arguments=("notify", "list"), method="GET", path="/notifications"),
    "notify test": Row(arguments=("notify", "test", "phone"), path="/notifications/test", body={"name": "phone"}),
    "pictures list": Row(arguments=("pictures", "list"), method="GET", path="/pictures"),
    "uploads list": Row(arguments=("uploads", "list"), method="GET", path="/uploads"),
    "tokens revoke": Row(arguments=("tokens", "revoke", "ada", "--yes"), method="DELETE", path="/tokens/ada"),
    "status": Row(arguments=("status",), method="GET", path="/status"),
    "reload": Row(arguments=("reload", "--dry-run"), path="/reload", body={"dry_run": True}),
    "gc": Row(arguments=("gc", "--dry-run"), path="/gc", body={"dry_run": True}),
    "forecast --replay": Row(
        arguments=("forecast", str(HYDRA), "--replay", "12h", "--against", str(BEFORE)),
        path="/forecast/replay",
        body={"before": text_of(HYDRA), "after": text_of(BEFORE), "since": "12h"},
    ),
}
"""Asked of one server by both; the command goes first, and its route says the same again."""
MANY = {"tasks cancel", "tasks priority", "tasks retry", "tasks wait"}
"""Take several tasks: `items` has the route's answer for each."""
OTHERWISE = {
    "apply": "changes a Kubernetes cluster, which no route of a server does",
    "console": "makes a link with another code each time; `test_console` compares it",
    "delete": "changes a Kubernetes cluster, which no route of a server does",
    "diff": "looks at a Kubernetes cluster, which no route of a server does",
    "import": "reads files here and writes one, which no server knows",
    "tasks show": "joins the answers of two routes, the task and its story",
    "batches show": "joins the answers of two routes, the batch and its tasks",
    "batches fetch": "sums up the files that it wrote into a folder here",
    "pictures decide": "is the answer of its route, which finds no pictures here",
    "pictures export": "sums up the files that it wrote into a folder here",
    "tasks fetch": "sums up the files that it wrote into folders here",
    "batches retry": "is the answer of its route, which makes another batch each time",
    "tokens invite": "is the answer of its route, which makes another link each time",
    "tokens create": "is the answer of its route, which makes another secret each time",
    "uploads rm": "is the answer of its route, which finds nothing the second time",
    "characters import": "reads files here, whose images it uploads; `test_characters_api` compares what it saved",
    "characters export": "lists what it wrote into a folder here; `test_characters_api` reads it again",
    "submit": "is the answer of `POST /batches`, which makes another batch each time",
    "sets make": "plans what is missing, which is less the second time; `test_sets_api` compares it",
    "backup": "is the manifest in the archive that its route sends",
    "rollback": "works on a data directory here whose server is stopped",
    "restore": "works on an archive and a folder here, without a server",
    "hold": "starts a program in the background; `test_programs` compares what it prints",
    "run": "sums up the files that it wrote into a folder here, which no server knows",
    "engines place": "writes files for instances; `test_instances_api` compares it",
    "engines convert": "asks an instance of ComfyUI; `test_instances_api` compares it",
    "loadtest": "watches GPUs for a time; two tests never measure the same",
    "models load": "asks an Ollama server; `test_hosted_models` compares it",
    "models place": "writes files for instances; `test_hosted_models` compares it",
    "models unload": "asks an Ollama server; `test_hosted_models` compares it",
    "models rm": "of an Ollama server is compared in `test_hosted_models`; the store's has no route",
    "switch": "changes a Kubernetes cluster, which no route of a server does",
    "verify": "asks containers of a Kubernetes cluster, which no route of a server does",
    "version": "is of the program that is called; that of a server is in `GET /status`",
}
"""Commands whose `--json` cannot be compared with a second call, and why; the test below them compares what can be."""


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[str]:  # click's own types are not public
    """Yield every command that has `--json`."""
    group = group or get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        elif any("--json" in parameter.opts for parameter in command.params):
            yield " ".join((*path, name))


def test_every_command_with_json_is_compared() -> None:
    known = {command.partition(" --")[0] for command in (*ROWS, *OF_THE_QUEUE, *OTHERWISE)}
    assert set(commands()) == known


async def printed_by(api: Serving, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Return what a command prints about the server, as JSON."""
    await asyncio.to_thread(run_command, [*arguments, "--url", api.url, "--json"])
    return json.loads(capsys.readouterr().out)


async def fill_queue(api: Serving, services: Services) -> None:
    """Make tasks 1 to 6 of batch 1: one succeeded, one failed, one runs, others wait; hold 7, and the token of ada."""
    made = await api.post("/corral/v1/batches", {"name": "night", "tasks": [SLEEP] * 6})
    assert [task["id"] for task in made.json["tasks"]] == [1, 2, 3, 4, 5, 6]
    await queue_life.start(services.pool, 3)
    await queue_life.succeed(services.pool, 1)
    await queue_life.fail(services.pool, 2)
    await api.post("/corral/v1/tokens", {"name": "ada", "role": "viewer"})
    services.board.show_slots(lambda: (GROUP,))
    assert (await api.post("/corral/v1/sets", {"file": a_sleeping_set()})).status == 200
    assert (await api.post("/corral/v1/characters", {"characters": [{"name": "elena"}]})).status == 200
    assert (await api.post("/corral/v1/holds", {"cpu": True})).json["id"] == 7


@pytest.mark.parametrize("command", OF_THE_QUEUE)
async def test_json_of_a_command_of_the_queue_is_the_answer_of_its_route(
    api: Serving, services: Services, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await fill_queue(api, services)
    row = OF_THE_QUEUE[command]

    printed = await printed_by(api, capsys, *row.arguments)

    answered = await api.call(row.method, f"/corral/v1{row.path}", json=row.body)
    assert answered.status == 200, answered.body
    answer = {"items": [answered.json]} if command in MANY else answered.json
    assert steady(command, printed) == steady(command, answer)


async def test_json_of_what_makes_or_deletes_something_has_the_fields_of_its_route(
    api: Serving, services: Services, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    await fill_queue(api, services)
    file = tmp_path / "batch.yaml"
    file.write_text(json.dumps({"apiVersion": "corral/v1", "kind": "Batch", "name": "naps", "tasks": [NAP]}))

    submitted = await printed_by(api, capsys, "submit", str(file))
    await api.call("POST", "/corral/v1/uploads?name=a", data=b"a")
    deleted = await printed_by(api, capsys, "uploads", "rm", hashlib.sha256(b"a").hexdigest(), "--yes")
    retried = await printed_by(api, capsys, "batches", "retry", "1")
    made = await printed_by(api, capsys, "tokens", "create", "bob", "--role", "viewer")
    invited = await printed_by(api, capsys, "tokens", "invite", "guest", "--tpd", "1000", "--lasts", "2d")

    again = await api.post("/corral/v1/batches", {"name": "naps", "tasks": [NAP]})
    token = await api.post("/corral/v1/tokens", {"name": "eve", "role": "viewer"})
    await api.call("POST", "/corral/v1/uploads?name=a", data=b"a")
    path = f"/corral/v1/uploads/{hashlib.sha256(b'a').hexdigest()}"
    assert deleted == (await api.call("DELETE", path)).json
    assert submitted.keys() == retried.keys() == again.json.keys()
    assert submitted["batch"] == (await api.get(f"/corral/v1/batches/{submitted['batch']['id']}")).json
    assert retried["batch"] == (await api.get(f"/corral/v1/batches/{retried['batch']['id']}")).json
    assert made.keys() == token.json.keys()
    (invitation,) = (await api.get("/corral/v1/invitations")).json["items"]
    assert {name: value for name, value in invited.items() if name != "link"} == invitation
    assert invitation["limits"] == {"tokens_per_day": 1000}


async def test_json_that_joins_two_routes_has_both_answers(
    api: Serving, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    await fill_queue(api, services)

    task = await printed_by(api, capsys, "tasks", "show", "2")
    batch = await printed_by(api, capsys, "batches", "show", "1")

    story = (await api.get("/corral/v1/tasks/2/story")).json["items"]
    tasks = (await api.get("/corral/v1/tasks?batch=1&order=oldest")).json["items"]
    assert task == {**(await api.get("/corral/v1/tasks/2")).json, "story": story}
    assert batch == {**(await api.get("/corral/v1/batches/1")).json, "tasks": tasks}


async def test_a_load_test_is_refused_alike_where_no_gpu_can_be_watched(
    api: Serving, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    answered = await api.post("/corral/v1/loadtest", {"duration": "1s", "gpus": [99]})
    await asyncio.to_thread(
        run_command,
        ["loadtest", "--watch", "--duration", "1s", "--gpu", "99", "--data-dir", str(services.data_dir), "--json"],
    )
    refused = answered.json["error"]
    assert json.loads(capsys.readouterr().err)["error"] == {
        name: value for name, value in refused.items() if name != "request_id"
    }


@pytest.mark.parametrize("command", ROWS)
async def test_json_of_a_command_is_the_answer_of_its_route(
    api: Serving, services: Services, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (services.data_dir / "tiny.bin").write_bytes(b"GGUF, as far as the store looks")
    await Store(services.data_dir / "models").pull(str(services.data_dir / "tiny.bin"))
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
    if command == "status":
        return {**answer, "database_bytes": None, "disk": None}
    if command != "doctor":
        return answer
    return [
        {**finding, "what": re.sub(r"[0-9.]+", "N", finding["what"])}
        for finding in answer["items"]
        if finding["name"] not in ("server", "database", "access")
    ]
