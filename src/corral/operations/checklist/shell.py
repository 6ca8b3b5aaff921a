"""Runs programs for a checklist: short looks with a deadline, and commands that a person watches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from corral.operations.checklist.values import Ran, UnlookedError

_KEPT = 2000
"""Letters of a command's output that are kept as evidence: its end, where the error stands."""


class LocalShell:
    """Runs programs on this machine."""

    def run(self, argv: tuple[str, ...], *, deadline_s: float) -> Ran:
        """Run a program without a shell. Raises: UnlookedError when it is not installed or exceeds its deadline."""
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise UnlookedError(f"{argv[0]} cannot be run: {error.strerror}", hint=f"install {argv[0]}") from error
        try:
            out, errors = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired as error:
            raise UnlookedError(f"`{' '.join(argv)}` gave no answer in {deadline_s:g} s") from error
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return Ran(exit_code=process.returncode, out=out, errors=errors)

    def stream(self, line: str) -> Ran:
        """Run a shell line; what it prints goes to stderr as it comes, and its end is kept."""
        with subprocess.Popen(
            ["/bin/sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            kept = ""
            assert process.stdout is not None  # it is a pipe
            for printed in process.stdout:
                sys.stderr.write(printed)
                sys.stderr.flush()
                kept = (kept + printed)[-_KEPT:]
        return Ran(exit_code=process.returncode, out=kept, errors="")
