"""Makes every flush of PostgreSQL take longer, as a slow disk does: a library in front of `fdatasync` that waits.

Nothing of the server is relaxed or patched: commits wait for their flush as always, and share one where PostgreSQL lets
them. `cc` compiles the few lines; a server that is started with `LD_PRELOAD` loads them.
"""

from __future__ import annotations

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


def slow_flushes(folder: Path, wait_ms: int) -> Path | None:
    """Return the library that makes each `fdatasync` take so much longer; None without a wait."""
    if not wait_ms:
        return None
    source, library = folder / "slow.c", folder / "slow.so"
    source.write_text(_SOURCE, encoding="utf-8")
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-DWAIT_MS={wait_ms}", "-o", str(library), str(source), "-ldl"], check=True
    )
    library.chmod(0o644)
    return library
