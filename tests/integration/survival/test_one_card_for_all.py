"""One card of 24 GiB serves chat, pictures, a training script and a game, from an evening to the next morning.

Everything but the card and the two servers' models is real: Corral as a user starts it, its database, the servers that
it starts, `corral hold`, the game as a process, a webhook and a notification over HTTP. The clock is moved
(`doubles.moved_clock`), and the card is `doubles.shared_card`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sized
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

import doubles.shared_card
from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from doubles.comfyui_workflows import text_to_image
from doubles.moved_clock import MovedClock
from doubles.notified import Service, serving_json
from doubles.shared_card import TOTAL_MIB, SharedCard

pytestmark = pytest.mark.alone

PROGRAM = str(doubles.shared_card.__file__)
EVENING = datetime(2026, 11, 28, 19, 0, tzinfo=UTC)
GAME = EVENING.replace(hour=20)
NIGHT = EVENING.replace(hour=22, minute=5)
LATE = EVENING.replace(hour=5) + timedelta(days=1)
"""After it, pictures would not start before they were measured, and it can be that no kill let any end."""
GAME_MIB = 12 * 1024
TRAINING_MIB = 6 * 1024
PICTURES = 24
KILLS = 20
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
UUID = "GPU-44444444-4444-4444-8444-444444444444"
CLUSTER = """\
apiVersion: corral/v1
name: desk
timeZone: UTC
nodes:
  - name: desk
    gpus:
      - index: 0
        yieldTo: {{programs: [game.x86_64], interruptAfter: 2s, quiet: 2s}}
queues:
  - {{name: night, hours: {{daily: "22:00-07:00"}}}}
engines:
  comfyui:
    instances:
      - {{name: pictures, node: desk, gpu: 0, run: {{command: {pictures}, idle: 1h}}}}
  ollama:
    instances:
      - {{name: chat, node: desk, gpu: 0, run: {{command: {chat}, idle: 1h}}}}
webhooks:
  secretFrom: HOOK_SECRET
  allowPrivate: [127.0.0.0/8]
  receivers: [{{name: ci, url: "{hook}"}}]
notify:
  - {{to: phone, urlFrom: PHONE_URL, when: [batch-ended], bundle: 1s}}
"""
CHAT = {
    "engine": "ollama",
    "model": "smol",
    "class": "interactive",
    "max_attempts": 50,
    "inputs": {"messages": [{"role": "user", "content": "Are the pictures done?"}]},
}
TRAINING = "import os, pathlib, time; time.sleep(1); pathlib.Path(os.environ['DONE']).write_text(os.environ['SEES'])"


class Desk:
    """The machine: its card, its clock, the server, and everything that a person starts on it."""

    def __init__(self, folder: Path, hook: str, phone: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.card = SharedCard(folder)
        self.clock = MovedClock(folder, EVENING)
        self.game = folder / "game.x86_64"
        shutil.copy(shutil.which("sleep") or "/bin/sleep", self.game)
        cluster = folder / "cluster.yaml"
        programs = {
            engine: json.dumps([sys.executable, PROGRAM, str(self.card.folder), engine, "{port}"])
            for engine in ("comfyui", "ollama")
        }
        cluster.write_text(CLUSTER.format(pictures=programs["comfyui"], chat=programs["ollama"], hook=hook))
        environment = {
            "CORRAL_TEST_SECONDS": "0.4",
            "HOOK_SECRET": SECRET,
            "PHONE_URL": phone,
            **self.card.environment,
            **self.clock.environment,
        }
        self.server = corral_up(self.data, cluster, folder / "up.log", env=environment)

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Play the game for as long as the context lasts."""
        command = [sys.executable, PROGRAM, str(self.card.folder), str(GAME_MIB), str(self.game), "600"]
        with subprocess.Popen(command) as process:
            try:
                yield
            finally:
                process.kill()

    async def train(self, done: Path) -> asyncio.subprocess.Process:
        """Type `corral hold -- python train.py`."""
        script = TRAINING.replace("os.environ['DONE']", repr(str(done))).replace("SEES", "CUDA_VISIBLE_DEVICES")
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "corral", "hold", "--data-dir", str(self.data)),
            *("--memory", f"{TRAINING_MIB}Mi", "--"),
            *(sys.executable, PROGRAM, str(self.card.folder), str(TRAINING_MIB), sys.executable, "-c", script),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=(self.folder / "hold.log").open("ab"),
        )

    def read_logs(self) -> str:
        """Return what the server and `corral hold` printed."""
        return "".join(path.read_text() for path in self.folder.glob("*.log"))

    def list_processes(self) -> list[int]:
        """Return every process that Corral started, or that a hold did: those that hold memory of the card or did."""
        left: list[int] = []
        for path in self.card.folder.iterdir():
            with suppress(ProcessLookupError):
                os.kill(int(path.name), 0)
                left.append(int(path.name))
        return left


class Word:
    """A receiver of webhooks whose clock is not moved: signatures are checked, times are not."""

    def __init__(self) -> None:
        self.url = ""
        self.messages: dict[str, dict[str, Any]] = {}
        """By their ids: one that is sent again after a kill counts once."""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.text()
        id, sent = request.headers["webhook-id"], int(request.headers["webhook-timestamp"])
        assert Webhook(SECRET).sign(id, datetime.fromtimestamp(sent, UTC), body) == request.headers["webhook-signature"]
        self.messages[id] = json.loads(body)
        return web.Response()


@asynccontextmanager
async def taking_webhooks() -> AsyncIterator[Word]:
    word = Word()
    app = web.Application()
    app.router.add_post("/", word.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    word.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield word
    await runner.cleanup()


async def until(holds: Callable[[], Awaitable[Any]], within_s: float = 60) -> Any:
    """Ask again until the answer is true, and return it."""
    async with asyncio.timeout(within_s):
        while not (answer := await holds()):  # noqa: ASYNC110 (it is remote)
            await asyncio.sleep(0.1)
    return answer


@asynccontextmanager
async def owning_a_desk(folder: Path) -> AsyncIterator[tuple[Desk, Word, Service]]:
    """A desk whose server runs, and the two who hear of it."""
    async with taking_webhooks() as word, serving_json() as phone:
        desk = Desk(folder, word.url, f"json://{phone.address}/")
        watching = asyncio.create_task(desk.card.watch())
        try:
            async with keeping(desk.server):
                yield desk, word, phone
        finally:
            watching.cancel()


async def submit_pictures(client: PatientClient) -> int:
    """Submit the night's batch, and return its number."""
    accepted = await client.post(
        "/corral/v1/batches",
        {
            "name": "foxes",
            "by": "07:00",
            "defaults": {"engine": "comfyui", "queue": "night", "max_attempts": 100},
            "tasks": [
                {"name": f"fox-{seed}", "inputs": {"workflow": text_to_image(seed=seed)}} for seed in range(PICTURES)
            ],
        },
    )
    return accepted["batch"]["id"]


async def chat(client: PatientClient) -> dict[str, Any]:
    """Ask the chat model, and return the task once it has ended."""
    asked = await client.post("/corral/v1/tasks", CHAT)
    return await client.get(f"/corral/v1/tasks/{asked['id']}/wait?timeout=60")


async def read_reasons(client: PatientClient) -> set[str]:
    """Return why slots are closed."""
    return {slot["gate_reason"] for slot in (await client.get("/corral/v1/slots"))["items"]} - {""}


async def test_an_evening_and_a_night_of_chat_pictures_training_and_a_game(short_folder: Path) -> None:
    async with owning_a_desk(short_folder) as (desk, word, phone), PatientClient(desk.data) as client:
        batch = await submit_pictures(client)
        waits = await client.get("/corral/v1/tasks/1/explain")
        assert (waits["rule"], waits["summary"]) == ("outside_hours", "queue night opens at 22:00")

        training = await desk.train(short_folder / "trained")
        assert (await chat(client))["state"] == "succeeded"
        assert await training.wait() == 0, desk.read_logs()
        assert (short_folder / "trained").read_text() == UUID

        desk.clock.move_to(GAME)
        with desk.playing():
            reason = f"yields to game.x86_64 ({GAME_MIB / 1024:.1f} GiB)"
            await until(lambda: _is(read_reasons(client), {reason}))
            asked = await client.post("/corral/v1/tasks", CHAT)
            await until(lambda: _explains(client, asked["id"], reason))
            await until(lambda: _is(_held(desk), [GAME_MIB]))
        assert (await client.get(f"/corral/v1/tasks/{asked['id']}/wait?timeout=60"))["state"] == "succeeded"

        desk.clock.move_to(NIGHT)
        done = await until(lambda: _ended(client, batch))

        assert done["states"] == {"succeeded": PICTURES}
        assert done["deadline"]["verdict"] == "met"
        await until(lambda: _is(_count(word.messages), 1))
        await phone.wait_for(1)
        assert [message["data"]["succeeded"] for message in word.messages.values()] == [PICTURES]
        assert "foxes" in json.dumps(phone.got[0])
        assert await desk.server.stop() == 0
        assert desk.list_processes() == []
        assert desk.card.most_mib <= TOTAL_MIB
        log = desk.read_logs()
        transitions = ("slot_yields", "slot_returns", "server_started", "message_sent")
        assert [word for word in transitions if word not in log] == []


@pytest.mark.timeout(480)  # servers that were killed again and again wait before they start
async def test_twenty_kills_in_a_night_leave_no_process_and_no_hold_and_the_batch_is_done_by_seven(
    short_folder: Path,
) -> None:
    chance = random.Random(20261128)
    async with owning_a_desk(short_folder) as (desk, word, _phone), PatientClient(desk.data) as client:
        batch = await submit_pictures(client)
        desk.clock.move_to(NIGHT)
        typed = [await desk.train(short_folder / "trained")]
        for kill in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 1.5))
            desk.clock.move_to(NIGHT + (LATE - NIGHT) * (kill + 1) / KILLS)
            alive = [process for process in typed if process.returncode is None]
            victims = [desk.server.pid, *desk.list_processes(), *(process.pid for process in alive)]
            with suppress(ProcessLookupError):
                os.kill(chance.choice([pid for pid in victims if pid is not None]), signal.SIGKILL)
            if not alive:
                typed.append(await desk.train(short_folder / "trained"))
            if kill % 4 == 0:
                await client.post("/corral/v1/tasks", CHAT)
        done = await until(lambda: _ended(client, batch), within_s=120)

        assert done["states"] == {"succeeded": PICTURES}
        assert done["deadline"]["verdict"] == "met"
        await until(lambda: _is(_count(word.messages), 1))
        for process in typed:
            await asyncio.wait_for(process.wait(), 60)
        await until(lambda: _is(_list_holds(client), []), within_s=120)
        await until(lambda: _all_ended(client), within_s=120)
        assert await desk.server.stop() == 0
        assert desk.list_processes() == []
        assert desk.card.most_mib <= TOTAL_MIB


async def _is(answer: Awaitable[Any], wanted: Any) -> bool:
    return await answer == wanted


async def _explains(client: PatientClient, task: int, reason: str) -> bool:
    return reason in (await client.get(f"/corral/v1/tasks/{task}/explain"))["summary"]


async def _held(desk: Desk) -> list[int]:
    return list(desk.card.list_held().values())


async def _count(messages: Sized) -> int:
    return len(messages)


async def _ended(client: PatientClient, batch: int) -> dict[str, Any] | None:
    answer = await client.get(f"/corral/v1/batches/{batch}")
    return answer if answer["done"] else None


async def _list_holds(client: PatientClient) -> list[dict[str, Any]]:
    return (await client.get("/corral/v1/holds"))["items"]


async def _all_ended(client: PatientClient) -> bool:
    listed = (await client.get("/corral/v1/tasks?limit=100"))["items"]
    return all(task["state"] in ("succeeded", "failed", "cancelled") for task in listed)
