"""A LoRA is trained for real, on two devices without a GPU, killed twice, and used by the task that follows."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from corral.data_dir import ENGINES_FOLDER, KEPT_FOLDER, models_dir
from corral.engine_kinds import TRAINER
from corral.engines.trainer.checkpoints import list_checkpoints, read_journal
from doubles.local_engines import LLAMA, REPOSITORY, real_models
from doubles.short_folders import lend_short_folder

CLUSTER = """\
apiVersion: corral/v1
name: training
nodes: [{name: here, gpus: [], cpu: {slots: 2}}]
engines:
  trainer: {enabled: true}
  sleep: {enabled: true}
  whisper: {enabled: false}
  piper: {enabled: false}
  kokoro: {enabled: false}
  inspect: {enabled: false}
  onnx: {enabled: false}
"""
EVERY, STEPS = 4, 16
BATCH = f"""\
apiVersion: corral/v1
kind: Batch
name: taught
tasks:
  - name: train
    engine: trainer
    model: {LLAMA}
    gpus: 2
    maxAttempts: 3
    timeout: 30m
    files: {{facts.jsonl: ./facts.jsonl}}
    inputs: {{recipe: lm-lora, register_as: barn-facts, checkpoint_every: {EVERY}, options: {{steps: {STEPS}}}}}
  - name: ask
    engine: llama
    model: {LLAMA}
    needs: [train]
    inputs: {{prompt: Who owns the queue?, loras: [{{name: barn-facts}}], temperature: 0, max_tokens: 24}}
  - name: ask-the-base
    engine: llama
    model: {LLAMA}
    needs: [ask]
    inputs: {{prompt: Who owns the queue?, temperature: 0, max_tokens: 24}}
"""
NAPS = """\
apiVersion: corral/v1
kind: Batch
name: naps
defaults: {engine: sleep}
tasks:
  - {name: long, inputs: {seconds: 20}}
  - {name: short, count: 8, inputs: {seconds: 1}}
"""
ENVIRONMENT = REPOSITORY / ".cache" / "training" / ENGINES_FOLDER
LIMIT_S = 1500


@pytest.fixture(scope="session")
def model() -> Path:
    """The file of the small language model."""
    return real_models().path(LLAMA)


@pytest.fixture
async def folder(model: Path) -> AsyncIterator[Path]:
    """A data directory with the small language model, and the environment of the trainer."""
    assert ENVIRONMENT.is_dir(), "install the trainer: `make test-training`"
    with lend_short_folder() as folder:
        source, models = model.parent, models_dir(folder / "data")
        await asyncio.to_thread(shutil.copytree, source, models / source.name, copy_function=os.link)
        (folder / "data" / ENGINES_FOLDER).symlink_to(ENVIRONMENT)
        (folder / "cluster.yaml").write_text(CLUSTER)
        (folder / "taught.yaml").write_text(BATCH)
        (folder / "naps.yaml").write_text(NAPS)
        shutil.copyfile(REPOSITORY / "examples" / "barn-facts.jsonl", folder / "facts.jsonl")
        yield folder


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Kept]:
    """A server that is started again when it is killed."""
    server = corral_up(folder / "data", folder / "cluster.yaml", folder / "server.log")
    async with keeping(server):
        yield server
        await server.stop()


@pytest.fixture
async def client(folder: Path, server: Kept) -> AsyncIterator[PatientClient]:
    """A client of whichever server runs."""
    async with PatientClient(folder / "data") as client:
        await client.leading()
        yield client


async def submit(folder: Path, name: str) -> int:
    """Submit a batch file as a user does; return the number of the batch."""
    words = ("submit", str(folder / name), "--data-dir", str(folder / "data"), "--json")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "corral", *words, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed
    return json.loads(printed)["batch"]["id"]


async def read_tasks(client: PatientClient, batch: int) -> dict[str, Any]:  # as the API answers
    """Read the tasks of a batch by name."""
    answer = await client.get(f"/corral/v1/tasks?batch={batch}")
    return {task["name"]: task for task in answer["items"]}


async def find_checkpoints(kept: Path, task: int) -> Path:
    """Return the folder of a task, once it is there."""
    async with asyncio.timeout(LIMIT_S):
        while not (folders := list(kept.glob(f"task-{task}-*"))):  # noqa: ASYNC110 - no event of another process
            await asyncio.sleep(0.2)
    return folders[0]


async def wait_for_steps(keep: Path, steps: int) -> None:
    """Return once so many steps were done."""
    async with asyncio.timeout(LIMIT_S):
        while len(read_journal(keep)) < steps:  # noqa: ASYNC110 - no event of another process
            await asyncio.sleep(0.2)


def kill_a_trainer(keep: Path) -> None:
    """SIGKILL a process that computes steps of a task."""
    processes = [process for process in psutil.process_iter(["cmdline"]) if is_trainer(process, keep)]
    os.kill(processes[-1].pid, signal.SIGKILL)


def is_trainer(process: psutil.Process, keep: Path) -> bool:
    """Whether a process computes below a data directory: not the launcher, which has the script as an argument too."""
    words: list[str] = process.info["cmdline"] or []
    script = next((number for number, word in enumerate(words) if word.endswith("lm_lora.py")), None)
    return script is not None and "torch.distributed.run" not in words and str(keep.parents[2]) in words[-1]


@pytest.mark.timeout(LIMIT_S)
async def test_lora_that_was_killed_twice_resumes_and_the_next_task_answers_by_it(
    folder: Path, server: Kept, client: PatientClient
) -> None:
    naps, batch = await submit(folder, "naps.yaml"), await submit(folder, "taught.yaml")
    task = (await read_tasks(client, batch))["train"]["id"]
    keep = await find_checkpoints(folder / "data" / KEPT_FOLDER / TRAINER.name, task)
    await wait_for_steps(keep, EVERY + 2)
    kill_a_trainer(keep)
    before = len(read_journal(keep))
    assert [step for step, _ in list_checkpoints(keep)] == [EVERY]
    await wait_for_steps(keep, before + EVERY + 1)
    journal = read_journal(keep)
    assert server.kill()

    async with asyncio.timeout(LIMIT_S):
        while not (await client.get(f"/corral/v1/batches/{batch}"))["done"]:  # noqa: ASYNC110 - across a kill
            await asyncio.sleep(1)
    tasks = await read_tasks(client, batch)
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(tasks, "succeeded"), tasks
    shown = {name: await client.get(f"/corral/v1/tasks/{task['id']}") for name, task in tasks.items()}
    trained = shown["train"]["result"]
    assert journal[before][0] == EVERY + 1, "it resumed after its last checkpoint"
    assert trained["steps"] == STEPS
    assert 0 < trained["steps_done"] - STEPS <= 2 * EVERY
    assert trained["devices"] == 2
    assert "Captain Hay" in shown["ask"]["result"]["text"]
    assert "Captain Hay" not in shown["ask-the-base"]["result"]["text"], "only a task that names the LoRA has it"
    assert [step for step, _ in list_checkpoints(keep)] == [STEPS], "a lost result would be made anew without a step"
    assert (await client.get(f"/corral/v1/batches/{naps}"))["done"]
