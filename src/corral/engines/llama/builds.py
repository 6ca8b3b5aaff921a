"""The builds of llama.cpp on this machine: whether they run, and which devices they see."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from corral.engine_kinds import LLAMA
from corral.engines.environments.finding import Environments
from corral.engines.llama.inputs import LlamaOptions
from corral.engines.llama.program import INSTALL, Installed, Program, choose_program, make_builtin
from corral.engines.machine_share import Examination
from corral.work import EngineUnavailableError

_ANSWER_S = 20.0
"""For a program that opens every GPU; drivers that wake one up take seconds."""
_DEVICE = re.compile(r"^\s+(\S+): (.+?) \(\d+ MiB, \d+ MiB free\)$", re.MULTILINE)


def look_for_builds(environments: Environments) -> Installed:
    """Look for builds of llama.cpp on this machine."""
    try:
        builtin = make_builtin(environments.require(LLAMA).python)
    except EngineUnavailableError:
        builtin = None
    return Installed(find_program=shutil.which, builtin=builtin, install=environments.write_command(LLAMA))


def check_program(program: Program) -> None:
    """Return when the program can be run. Blocks. Raises: EngineUnavailableError."""
    _ask(program, "--version", os.environ)


def find_devices(program: Program, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the GPUs that a build sees: `CUDA0 (NVIDIA GeForce RTX 4090)`; blocks. Raises: EngineUnavailableError.

    Vulkan devices that are programs are not among them, unless the environment names them.
    """
    if program.is_builtin:
        return ()  # the locked wheel is built for processors; other wheels of it show in the log of a load
    return tuple(f"{name} ({words})" for name, words in _DEVICE.findall(_ask(program, "--list-devices", environment)))


def check_devices(program: Program, environment: Mapping[str, str], gpus: Sequence[str]) -> None:
    """Return when a build sees a GPU in a slot's environment. Blocks. Raises: EngineUnavailableError."""
    if not find_devices(program, environment):
        hint = f"{INSTALL}; `gpus: []` on the node in the cluster file leaves models to the processor"
        raise EngineUnavailableError(f"{program.name} sees no GPU at {', '.join(gpus)}", hint=hint)


def examine_builds(*, has_gpu: bool, environments: Environments) -> Examination:
    """Say what llama tasks compute on here where the cluster file names no binary; blocks."""
    try:
        program = choose_program(LlamaOptions.model_validate({}), look_for_builds(environments), gpu=has_gpu)
        devices = find_devices(program)
    except EngineUnavailableError as error:
        return Examination(what=error.what, fix=error.hint or INSTALL)
    if devices:
        return Examination(what=f"{program.name} sees {', '.join(devices)}")
    if has_gpu:
        return Examination(what=f"{program.name} sees no GPU, so its models are on the processor", fix=INSTALL)
    return Examination(what=f"{program.name} computes on the processor")


def _ask(program: Program, question: str, environment: Mapping[str, str]) -> str:
    try:
        answer = subprocess.run(
            (*program.command, question),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            timeout=_ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailableError(f"{program.name} cannot be run: {error}", hint=INSTALL) from error
    printed = answer.stdout.decode(errors="replace")
    if answer.returncode != 0:
        last = printed.strip().splitlines()[-1:] or ["it printed nothing"]
        raise EngineUnavailableError(f"{program.name} cannot be run: {last[0]}", hint=INSTALL)
    return printed
