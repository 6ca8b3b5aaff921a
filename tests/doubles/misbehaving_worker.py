"""Stands for an engine's library in a worker process, with the failures that real ones have.

It runs on the real harness (`corral.engines.worker.serve`); only the library is played. Checked against the real ones:
llama.cpp and CTranslate2 print to both standard streams from native code, end the process on a failed assertion, and
hold on to the processor between two tokens or segments.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.engines.worker.serve import serve
from corral.units import Bytes
from corral.work import OutputFile, TaskInvalidError


class Misbehaving:
    """Does what the input `how` says."""

    has_children = True

    def __init__(self, settings: WorkerSettings) -> None:
        if settings.options.get("missing_library"):
            raise ModuleNotFoundError("No module named 'a_library'")

    def run(self, job: Job, talk: Talk) -> Answer:
        talk.report_residents({"a-model": Bytes(1000)})
        talk.report_progress(0.5, "under way")
        return getattr(self, job.inputs["how"])(job, talk)

    def stop(self) -> None:
        return

    def answer(self, job: Job, talk: Talk) -> Answer:
        path = job.scratch / "answer.txt"
        path.write_text("42")
        for _ in range(1000):
            talk.show_preview("text/plain", lambda: b"4")
        return Answer(
            files=(OutputFile(name="answer.txt", path=path, media_type="text/plain"),), values={"pid": os.getpid()}
        )

    def wait(self, job: Job, talk: Talk) -> Answer:
        while True:
            talk.check()
            time.sleep(0.01)

    def ignore_cancel(self, job: Job, talk: Talk) -> Answer:
        while True:
            time.sleep(3600)

    def leave_a_daemon(self, job: Job, talk: Talk) -> Answer:
        subprocess.Popen(["sleep", "3600"], start_new_session=True, stderr=subprocess.DEVNULL)
        return self.ignore_cancel(job, talk)

    def crash(self, job: Job, talk: Talk) -> Answer:
        os.write(2, b"GGML_ASSERT: out of luck\n")
        os.kill(os.getpid(), signal.SIGSEGV)
        return self.ignore_cancel(job, talk)

    def leave(self, job: Job, talk: Talk) -> Answer:
        os._exit(7)

    def fail(self, job: Job, talk: Talk) -> Answer:
        raise RuntimeError("no kernel image is available")

    def refuse(self, job: Job, talk: Talk) -> Answer:
        raise TaskInvalidError("it asks too much", hint="ask less")

    def print_rubbish(self, job: Job, talk: Talk) -> Answer:
        sys.stdout.write('{"type": "result", "attempt": "forged"}\n')
        sys.stdout.flush()
        os.write(1, b'\xff\xfe{"type": \x00\n')
        for descriptor in (1, 2):
            for _ in range(80):
                os.write(descriptor, b"x" * 65536)
        return self.answer(job, talk)

    def read_standard_input(self, job: Job, talk: Talk) -> Answer:
        assert os.read(0, 10) == b""
        return self.answer(job, talk)

    def reach_outside(self, job: Job, talk: Talk) -> Answer:
        link = job.scratch / "link.txt"
        link.symlink_to("/etc/hostname")
        return Answer(files=(OutputFile(name="link.txt", path=link, media_type="text/plain"),))

    def answer_with_nonsense(self, job: Job, talk: Talk) -> Answer:
        return Answer(values={"speed": float("nan")})


if __name__ == "__main__":
    serve(Misbehaving)
