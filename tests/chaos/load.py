"""What the storm is given to do: batches whose every task has one right end, known beforehand.

Tasks sleep in the server, run small programs that write files (some leave a daemon behind, some take the files of
others), and draw images on ComfyUI doubles. A few are broken and must fail, and what needs them must fail with them.
Everything follows from the seed.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import text_to_image

OWNERS = ("ada", "grace", "edsger")
PRIORITIES = ("critical", "high", "normal", "low", "idle")
TRIES = 20
"""A killed engine spends an attempt; a task of the storm has enough of them to outlive every kill."""
SIZE = 32
"""Pixels of an image."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How one task must end."""

    state: str
    files: Counter[str]
    """SHA-256 of each output; the log of a program and the names that an instance chooses apart."""
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Planned:
    """One batch as it is submitted, and how each of its tasks must end, by name."""

    owner: str
    body: Mapping[str, Any]
    expected: Mapping[str, Expected]

    @property
    def name(self) -> str:
        return self.body["name"]


def plan(*, seed: int, tasks: int, batches: int, pace: float = 1.0) -> list[Planned]:
    """Return `batches` batches with so many tasks in all; a task takes about `pace` / 3 seconds."""
    draw = random.Random(seed)
    sizes = [tasks // batches + (index < tasks % batches) for index in range(batches)]
    return [_batch(draw, f"batch-{index}", size, pace) for index, size in enumerate(sizes)]


def _batch(draw: random.Random, name: str, size: int, pace: float) -> Planned:
    made = _Batch(draw, name, pace)
    for index in range(size):
        made.add(index)
    body = {"name": name, "tasks": made.tasks}
    return Planned(draw.choice(OWNERS), body, made.expected)


class _Batch:
    """A batch while it is put together."""

    def __init__(self, draw: random.Random, name: str, pace: float) -> None:
        self._pace = pace
        self.tasks: list[dict[str, Any]] = []
        self.expected: dict[str, Expected] = {}
        self._draw = draw
        self._name = name
        self._written: dict[str, bytes] = {}
        self._makers = (self._sleep, self._sleep, self._write, self._write, self._join, self._image)

    def add(self, index: int) -> None:
        draw = self._draw
        name = f"{self._name}-{index}"
        if index % 25 == 10:
            task, expected = self._broken(name)
        elif index % 25 == 11:
            task, expected = self._needs_the_broken(name, self.tasks[-1]["name"])
        else:
            task, expected = draw.choice(self._makers)(name)
            sound = [name for name, end in self.expected.items() if end.state == "succeeded"]
            if sound and draw.random() < 0.25:
                task["needs"] = [draw.choice(sound)]
        self.tasks.append({"name": name, "max_attempts": TRIES, "priority": draw.choice(PRIORITIES), **task})
        self.expected[name] = expected

    def _sleep(self, name: str) -> tuple[dict[str, Any], Expected]:
        seconds = round(self._draw.uniform(0.05, 0.6) * self._pace, 2)
        kind = "interactive" if self._draw.random() < 0.1 else "batch"
        task = {"engine": "sleep", "inputs": {"seconds": seconds}, "class": kind}
        return task, Expected("succeeded", Counter(), {"slept_s": seconds})

    def _write(self, name: str) -> tuple[dict[str, Any], Expected]:
        lines = self._draw.randrange(1, 400)
        written = b"".join(f"{name} {line}\n".encode() for line in range(lines)) + b"end\n"
        self._written[name] = written
        daemon = "setsid sleep 600 > /dev/null 2>&1 &" if self._draw.random() < 0.3 else ""
        script = f"""set -e
            {daemon}
            line=0; while [ $line -lt $LINES ]; do echo "$NAME $line"; line=$((line + 1)); done > out.txt
            sleep $PAUSE; echo end >> out.txt"""
        pause = round(self._draw.uniform(0.0, 0.5) * self._pace, 2)
        task = _program(script, ["out.txt"], {"LINES": str(lines), "NAME": name, "PAUSE": str(pause)})
        return task, Expected("succeeded", _sums(written), {"exit_code": 0})

    def _join(self, name: str) -> tuple[dict[str, Any], Expected]:
        if len(self._written) < 2:
            return self._write(name)
        first, second = self._draw.sample(sorted(self._written), 2)
        joined = self._written[first] + self._written[second]
        task = _program("cat inputs/first inputs/second > joined.txt", ["joined.txt"], {})
        task["files"] = {
            "first": {"task": first, "output": "out.txt"},
            "second": {"task": second, "output": "out.txt"},
        }
        return task, Expected("succeeded", _sums(joined), {"exit_code": 0})

    def _image(self, name: str) -> tuple[dict[str, Any], Expected]:
        seed = self._draw.randrange(2**32)
        drawn = picture(seed=seed, prompt=name, width=SIZE, height=SIZE)
        task = {"engine": "comfyui", "inputs": {"workflow": text_to_image(), "seed": seed, "prompt": name}}
        return task, Expected("succeeded", _sums(drawn), {})

    def _broken(self, name: str) -> tuple[dict[str, Any], Expected]:
        task = _program("echo partial > out.txt; exit 3", ["out.txt"], {})
        return {**task, "max_attempts": 2}, Expected("failed", Counter(), {})

    def _needs_the_broken(self, name: str, broken: str) -> tuple[dict[str, Any], Expected]:
        task = {"engine": "sleep", "inputs": {"seconds": 0}, "needs": [broken]}
        return task, Expected("failed", Counter(), {})


def _program(script: str, outputs: list[str], env: Mapping[str, str]) -> dict[str, Any]:
    return {"engine": "command", "inputs": {"argv": ["sh", "-c", script], "outputs": outputs, "env": dict(env)}}


def _sums(*contents: bytes) -> Counter[str]:
    return Counter(hashlib.sha256(content).hexdigest() for content in contents)
