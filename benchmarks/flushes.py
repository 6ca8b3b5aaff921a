"""Makes every flush of PostgreSQL take longer, as a slow disk does: a library in front of `fdatasync` that waits.

Nothing of the server is relaxed or patched: commits wait for their flush as always, and share one where PostgreSQL lets
them. `cc` compiles the few lines; the server that is started with `environment` loads them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int fdatasync(int file) {
  static int (*real)(int);
  struct timespec wait = {0, WAIT_MS * 1000000L};
  if (!real) real = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
  nanosleep(&wait, 0);
  return real(file);
}
"""


def slow_flushes(folder: Path, wait_ms: int) -> dict[str, str]:
    """Return the environment in which each `fdatasync` takes so much longer; without a wait, the usual one."""
    if not wait_ms:
        return dict(os.environ)
    source, library = folder / "slow.c", folder / "slow.so"
    source.write_text(_SOURCE, encoding="utf-8")
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-DWAIT_MS={wait_ms}", "-o", str(library), str(source), "-ldl"], check=True
    )
    return {**os.environ, "LD_PRELOAD": str(library)}
