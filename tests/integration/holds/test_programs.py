"""A program under `corral hold` has its turn, is passed every signal, and never outlives its hold."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from chaos.client import PatientClient
from chaos.kept import Kept
from corral.tasks.store.pool import Pool
from doubles.held_programs import make_family, type_hold

HOLDS = "/corral/v1/holds"


async def shorten_times(pool: Pool) -> None:
    """Let holds expire after two seconds instead of a minute."""
    await pool.execute("update holds set ttl = interval '2 s', expires_at = now() + interval '2 s' where ended is null")


async def list_until(client: PatientClient, count: int) -> list[dict[str, Any]]:
    """Return the holds once there are so many."""
    async with asyncio.timeout(30):
        while len(listed := (await client.get(HOLDS))["items"]) != count:  # noqa: ASYNC110 (it is remote)
            await asyncio.sleep(0.05)
    return listed


async def until_ended(client: PatientClient) -> dict[str, Any]:
    """Return the newest task once it has ended."""
    newest = (await client.get("/corral/v1/tasks"))["items"][0]
    return await client.get(f"/corral/v1/tasks/{newest['id']}/wait?timeout=9")


async def test_program_has_its_devices_and_its_exit_code_is_the_commands(client: PatientClient, folder: Path) -> None:
    script = 'echo "$CORRAL_HOLD:$CUDA_VISIBLE_DEVICES:$PWD"; echo problem >&2; exit 7'
    program = await type_hold(folder / "data", "--", "sh", "-c", script)

    line = await program.read_line()
    code, said = await program.end()

    task = await until_ended(client)
    assert line == f"{task['id']}::{Path.cwd()}"
    assert code == 7
    assert "started" in said
    assert "here/cpu0" in said
    assert "problem" in said
    assert (task["state"], task["result"]) == ("succeeded", {"ended": "released"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signal_passes_through_and_ends_the_command_as_it_ends_the_program(
    client: PatientClient, folder: Path, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    caught = await type_hold(
        folder / "data",
        "--",
        "sh",
        "-c",
        f"trap 'echo got {name}; exit 3' {name}; echo ready; while :; do sleep 0.1; done",
    )
    assert await caught.read_line() == "ready"
    caught.process.send_signal(number)
    assert await caught.read_line() == f"got {name}"
    assert (await caught.end())[0] == 3

    killed = await type_hold(folder / "data", "--", "sh", "-c", "echo ready; exec sleep 7401", word="7401")
    assert await killed.read_line() == "ready"
    killed.process.send_signal(number)
    assert (await killed.end())[0] == -number
    assert killed.list_left() == []
    await list_until(client, 0)


async def test_second_program_waits_for_the_first(client: PatientClient, folder: Path) -> None:
    first = await type_hold(folder / "data", "--", *make_family("7411"), word="7411")
    await first.read_line()
    second = await type_hold(folder / "data", "--", "echo", "my turn")
    waiting = (await list_until(client, 2))[1]
    first.process.terminate()

    assert waiting["state"] == "waiting"
    assert await second.read_line() == "my turn"
    code, said = await second.end()
    assert code == 0
    assert "waiting" in said
    await first.end()
    assert first.list_left() == []


async def test_killed_command_takes_its_program_along_and_its_hold_ends(
    client: PatientClient, folder: Path, pool: Pool
) -> None:
    program = await type_hold(folder / "data", "--", *make_family("7421"), word="7421")
    await program.read_line()
    await program.until_running(2)
    await shorten_times(pool)

    program.process.kill()

    await program.until_gone()
    await list_until(client, 0)


async def test_killed_keeper_leaves_nothing_of_the_program(client: PatientClient, folder: Path) -> None:
    program = await type_hold(folder / "data", "--", *make_family("7431"), word="7431")
    await program.read_line()

    program.find_keeper().kill()

    assert (await program.end())[0] == -signal.SIGKILL
    assert program.list_left() == []
    await list_until(client, 0)


async def test_killed_server_disturbs_no_program_and_gives_its_device_to_nobody_else(
    client: PatientClient, folder: Path, server: Kept
) -> None:
    program = await type_hold(folder / "data", "--", *make_family("7441"), word="7441")
    await program.read_line()
    sleep = {"engine": "sleep", "inputs": {"seconds": 0}}
    waiting = (await client.post("/corral/v1/tasks", sleep, key="waiting"))["id"]
    (before,) = (await client.get(HOLDS))["items"]

    for _ in range(2):
        server.kill()
        await asyncio.sleep(0.2)
        await client.leading()
        await asyncio.sleep(0.5)
        assert (await client.get(f"/corral/v1/tasks/{waiting}"))["state"] == "queued"
        (after,) = (await client.get(HOLDS))["items"]
        assert (after["state"], after["granted_at"]) == ("granted", before["granted_at"])

    program.process.terminate()
    await program.end()
    ended = await client.get(f"/corral/v1/tasks/{waiting}/wait?timeout=9")
    assert ended["state"] == "succeeded"


async def test_program_whose_task_is_cancelled_is_ended_before_another_has_its_device(
    client: PatientClient, folder: Path
) -> None:
    slow = "trap 'sleep 1; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    first = await type_hold(folder / "data", "--", "flock", str(folder / "card"), "sh", "-c", slow)
    assert await first.read_line() == "ready"
    alone = f"flock --nonblock {folder}/card echo alone || echo together"
    second = await type_hold(folder / "data", "--", "sh", "-c", alone)
    (hold, _) = await list_until(client, 2)

    await client.post(f"/corral/v1/tasks/{hold['id']}/cancel", {}, key="cancel")

    assert await second.read_line() == "alone"
    assert (await client.get(f"/corral/v1/tasks/{hold['id']}"))["state"] == "cancelled"
    await first.end()
    await second.end()


async def test_program_whose_device_is_taken_back_is_ended_before_another_has_it(
    client: PatientClient, folder: Path
) -> None:
    program = await type_hold(folder / "data", "--", *make_family("7451"), word="7451")
    await program.read_line()
    (hold,) = (await client.get(HOLDS))["items"]
    taking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", "holds", "release", str(hold["id"]), "--data-dir", str(folder / "data")),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await taking.communicate()

    code, said = await program.end()

    assert printed.decode() == f"hold {hold['id']}: ending\n"
    assert code == -signal.SIGTERM
    assert "it was given back; the program gets 10 s to stop" in said
    assert program.list_left() == []
    await list_until(client, 0)


async def test_hold_of_a_program_in_the_background_is_printed_as_its_route_has_it(
    client: PatientClient, folder: Path
) -> None:
    starting = await type_hold(folder / "data", "--detach", "--json", "--", "sleep", "0.1")
    assert starting.process.stdout is not None
    printed = json.loads(await starting.process.stdout.read())

    shown = await client.get(f"{HOLDS}/{printed['id']}")

    assert printed.keys() == shown.keys()
    assert (printed["program"], shown["program"], printed["state"]) == ("sleep", "sleep", "waiting")
    await until_ended(client)


async def test_program_in_the_background_has_a_log(client: PatientClient, folder: Path) -> None:
    starting = await type_hold(folder / "data", "--detach", "--", "sh", "-c", "echo hello; sleep 0.2; echo bye")
    line = await starting.read_line()
    assert (await starting.end())[0] == 0
    task = await until_ended(client)

    reading = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", "holds", "logs", str(task["id"]), "--data-dir", str(folder / "data")),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await reading.communicate()

    assert line.startswith(f"hold {task['id']} waits in the background; log: ")
    assert task["result"] == {"ended": "released"}
    assert [line for line in printed.decode().splitlines() if line in ("hello", "bye")] == ["hello", "bye"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("--", "no-such-program"), 3, "hold.no_program"),
        (("--json", "--", "true"), 2, "hold.json_without_detach"),
        (("--node", "elsewhere", "--", "true"), 2, "hold.other_machine"),
        (("--gpus", "2", "--", "true"), 2, "hold.too_many"),
    ],
)
async def test_what_cannot_be_had_is_refused_before_anybody_waits(
    client: PatientClient, folder: Path, arguments: tuple[str, ...], code: int, error: str
) -> None:
    program = await type_hold(folder / "data", *arguments)

    ended, said = await program.end()

    assert (ended, error in said) == (code, True)
    assert (await client.get("/corral/v1/tasks"))["items"] == []


COUNTER = """\
import signal, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print("ready", flush=True)
end = time.monotonic() + 2
while time.monotonic() < end:
    time.sleep(0.05)
print("interrupts", len(seen), flush=True)
"""


async def test_key_of_a_terminal_reaches_the_program_once_and_what_is_typed_is_its_input(
    client: PatientClient, folder: Path
) -> None:
    terminal, its_end = os.openpty()
    command = (sys.executable, "-m", "corral", "hold", "--cpu", "--data-dir", str(folder / "data"), "--")
    process = await asyncio.create_subprocess_exec(
        *command,
        *("sh", "-c", 'read -r line; echo "read $line"; exec "$0" -c "$1"', sys.executable, COUNTER),
        preexec_fn=lambda: os.login_tty(its_end),
    )
    os.close(its_end)
    shown = ""

    async def read_until(word: str) -> None:
        nonlocal shown
        async with asyncio.timeout(60):
            while word not in shown:
                shown += (await asyncio.to_thread(os.read, terminal, 4096)).decode()

    await read_until("started")
    os.write(terminal, b"a line\n")
    await read_until("ready")
    os.write(terminal, b"\x03")
    await read_until("interrupts")
    os.close(terminal)

    assert "read a line" in shown
    assert "interrupts 1" in shown
    assert await process.wait() == 0
