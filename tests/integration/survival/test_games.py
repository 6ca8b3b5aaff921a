"""A server shares its GPU with a game: real processes, the driver is nvml.c, whose world the test writes."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from doubles.installed import a_home, run
from doubles.nvml_library import build_library, machine, write_state

GIB = 2**30
CLUSTER = """\
apiVersion: corral/v1
name: desk
nodes:
  - name: desk
    gpus:
      - {index: 0, yieldTo: {programs: [game.x86_64], interruptAfter: 0s, quiet: 1s}}
engines: {sleep: {enabled: true}, llama: {enabled: false}, whisper: {enabled: false}, piper: {enabled: false}}
"""
LONG = {"engine": "sleep", "inputs": {"seconds": 600}, "name": "night", "memory": f"{4 * GIB}"}


def start_game(folder: Path) -> subprocess.Popen[bytes]:
    program = folder / "game.x86_64"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    return subprocess.Popen([program, "600"])


async def until(client: PatientClient, path: str, holds: Any) -> Any:
    async with asyncio.timeout(60):
        while True:
            if holds(answer := await client.get(path)):
                return answer
            await asyncio.sleep(0.2)


async def test_game_gets_the_gpu_and_the_night_goes_on_when_it_ends(tmp_path: Path) -> None:
    state = tmp_path / "state"
    write_state(state, "used 0 512")
    with a_home() as home:
        (home / "cluster.yaml").write_text(CLUSTER)
        gpu = machine(build_library(tmp_path), "twins", state=state)
        server = corral_up(home / "data", home / "cluster.yaml", home / "server.log", env=gpu)
        async with keeping(server), PatientClient(home / "data") as client:
            await client.leading()
            id = (await client.post("/corral/v1/tasks", LONG, key="night"))["id"]
            await until(client, f"/corral/v1/tasks/{id}", lambda task: task["state"] == "running")

            game = start_game(tmp_path)
            write_state(state, "used 0 10240", f"process 0 {game.pid} 9728 G 90", "busy 0 90")
            lost = await until(client, f"/corral/v1/tasks/{id}", lambda task: task["losses"] == 1)
            listed = await asyncio.to_thread(run, home, "slots", "list")
            path = f"/corral/v1/tasks/{id}/explain"
            explained = await until(client, path, lambda answer: answer["rule"] == "slots_closed")
            slots = await client.get("/corral/v1/slots")
            game.send_signal(signal.SIGKILL)
            game.wait()
            write_state(state, "used 0 512")
            again = await until(client, f"/corral/v1/tasks/{id}", lambda task: task["state"] == "running")

            write_state(state, "lost 0")
            closed = await until(client, "/corral/v1/slots", lambda slots: slots["items"][0]["gate"] == "unhealthy")
            status = await asyncio.to_thread(run, home, "status")
            write_state(state, "used 0 512")
            back = await until(client, f"/corral/v1/tasks/{id}", lambda task: task["state"] == "running")
            await server.stop()
        log = (home / "server.log").read_text()

    assert (lost["state"], lost["attempts"], lost["error"]["code"]) == ("queued", 0, "attempt.yielded")
    assert re.search(r"desk/gpu0: yields to: game.x86_64 \(9\.5 GiB\) since \d\d:\d\d", listed.stderr), listed
    assert "yields to game.x86_64 (9.5 GiB)" in explained["summary"]
    assert slots["devices"][0]["programs"][0]["name"] == "game.x86_64"
    assert slots["devices"][0]["foreign"] == 10 * GIB
    assert (again["attempts"], back["attempts"]) == (0, 0)
    assert closed["items"][0]["gate_reason"] == "the GPU cannot be used: GPU is lost"
    assert "desk/gpu0: the GPU cannot be used: GPU is lost" in " ".join(status.stdout.split())
    assert re.findall(r"\b(slot_\w+)\s+device=", log) == ["slot_yields", "slot_returns", "slot_closed", "slot_opened"]
