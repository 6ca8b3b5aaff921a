"""Trains: `trainer`, below a worker process in the trainer's own environment.

The worker launches one process for each device, reads their progress, and ends them and whatever they started. It
computes nothing itself, so it has no context on a GPU. What must outlive an attempt is in a folder of the task.

Belongs here: one attempt, from a data set to a LoRA.
Does not belong here: ending processes (`corral.processes.programs`), the bounded log (`corral.engines.printed`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from corral.engines.printed import LOG_NAME
from corral.engines.trainer.checkpoints import end_task, name_folder, read_journal, remove_outlived
from corral.engines.trainer.datasets import DataSetError, read_examples
from corral.engines.trainer.launching import Card, make_launch, make_launch_environment
from corral.engines.trainer.recipe_files import read_recipes
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.engines.worker.running import ProgramRun, run_program
from corral.processes.programs import Programs
from corral.work import EngineError, OutputFile, TaskInvalidError

SCRIPT = Path(__file__).with_name("lm_lora.py")
_LOOK_S = 120.0
_CARDS = """\
import json, torch
names = range(torch.cuda.device_count())
print(json.dumps([[torch.cuda.get_device_name(n), *torch.cuda.get_device_capability(n)] for n in names]))
"""


class Trainer:
    """The engine inside its worker."""

    has_children = True

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._programs = Programs()

    def run(self, job: Job, talk: Talk) -> Answer:
        """Train, from the last checkpoint of the task if there is one. Raises: EngineError, Cancelled."""
        recipe = read_recipes()[job.inputs["recipe"]]
        ((_, data),) = job.files.items()
        _check_data(data)
        options, output = recipe.fill_in(job.inputs["options"]), job.scratch / "output"
        output.mkdir()
        remove_outlived(self._settings.keep)
        keep = self._settings.keep / name_folder(job.task, recipe.name, job.model, options, data.read_bytes())
        keep.mkdir(parents=True, exist_ok=True)
        config = {
            "base": str(job.model_path),
            "data": str(data),
            "keep": str(keep),
            "output": str(output),
            "options": options,
            "checkpoint_every": job.inputs["checkpoint_every"],
        }
        path = job.scratch / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        talk.report_progress(None, "starts its processes")
        log = self._launch(job, talk, path)
        end_task(keep)
        return _make_answer(job, keep, output, log)

    def stop(self) -> None:
        """End the processes and all that they started."""
        self._programs.end_all()

    def _launch(self, job: Job, talk: Talk, config: Path) -> OutputFile:
        cards = _look_at_cards() if self._settings.gpu else ()
        command = make_launch(sys.executable, max(1, len(job.slots)), cards, (str(SCRIPT), str(config)))
        run = ProgramRun(
            argv=command,
            environment={**os.environ, **make_launch_environment(cards)},
            cwd=job.scratch,
            log=job.scratch / LOG_NAME,
            name="the trainer",
        )
        return run_program(self._programs, run, job, talk)


def _check_data(path: Path) -> None:
    try:
        read_examples(path)
    except DataSetError as error:
        raise TaskInvalidError(f"the data set cannot be used: {error}") from error


def _look_at_cards() -> tuple[Card, ...]:
    """Look at the GPUs in a process of its own, so that no context stays on them. Raises: EngineError."""
    command = (sys.executable, "-P", "-c", _CARDS)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LOOK_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"PyTorch cannot look at the GPUs: {error}") from error
    return tuple(Card(name=name, capability=(major, minor)) for name, major, minor in json.loads(done.stdout))


def _make_answer(job: Job, keep: Path, output: Path, log: OutputFile) -> Answer:
    journal = read_journal(keep)
    losses = dict(journal)
    table = job.scratch / "loss.csv"
    table.write_text("step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in losses.items()), encoding="ascii")
    files = (
        OutputFile(name="lora.gguf", path=output / "lora.gguf"),
        OutputFile(name="adapter_model.safetensors", path=output / "adapter_model.safetensors"),
        OutputFile(name="adapter_config.json", path=output / "adapter_config.json", media_type="application/json"),
        OutputFile(name="loss.csv", path=table, media_type="text/csv"),
        log,
    )
    values = {
        "steps": journal[-1][0],
        "steps_done": len(journal),
        "loss": journal[-1][1],
        "devices": max(1, len(job.slots)),
    }
    return Answer(files=files, values=values, registers=output / "lora.gguf")
