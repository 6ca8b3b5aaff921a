"""What llama.cpp itself says that it allocates: a model is loaded in a process of its own, whose log is read.

Not a double: the real library. The process ends without tidying up: its server was seen to wait for its threads for
ever.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 60
_TRIES = 4
_MODEL = re.compile(r"load_tensors: +\S+ model buffer size = +([\d.]+) MiB")
_CACHE = re.compile(r"llama_(?:kv_cache|memory_recurrent): +\S+ (?:KV|RS) buffer size = +([\d.]+) MiB")
_BUFFER = re.compile(r"sched_reserve: +\S+ compute buffer size = +([\d.]+) MiB")
_CHILD = """
import os, secrets, sys, tempfile
import xllamacpp
path, context, parallel, cache_type, flash = sys.argv[1:]
p = xllamacpp.CommonParams()
p.model.path = path
p.n_ctx, p.n_parallel, p.n_batch, p.n_ubatch = int(context) * int(parallel), int(parallel), 2048, 512
p.cache_type_k = p.cache_type_v = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + cache_type.upper())
p.flash_attn_type = xllamacpp.llama_flash_attn_type(int(flash))
p.fit_params, p.warmup, p.ui, p.cache_ram_mib, p.verbosity = False, False, False, 0, 4
p.hostnames, p.api_keys = [os.path.join(tempfile.mkdtemp(), "s.sock")], [secrets.token_hex(8)]
server = xllamacpp.Server(p)
sys.stdout.flush(), sys.stderr.flush()
os._exit(0)
"""


@dataclass(frozen=True, kw_only=True)
class Reported:
    """Bytes, as far as the log's two decimals of a MiB tell."""

    weights: float
    cache: float
    buffer: float


def report_of(
    path: Path, *, context: int, parallel: int = 1, cache_type: str = "f16", flash_attention: bool = True
) -> Reported:
    """Load a model on the processor and read the sizes of its buffers; `context` is for each sequence."""
    arguments = (str(path), str(context), str(parallel), cache_type, str(int(flash_attention)))
    # llama.cpp writes its log in a thread of its own, and the child ends without waiting for that thread: sometimes
    # the last lines are lost. Loading the model again prints the same sizes.
    for _ in range(_TRIES - 1):
        log = _load(arguments)
        if all(pattern.search(log) for pattern in (_MODEL, _CACHE, _BUFFER)):
            break
    else:
        log = _load(arguments)
    return Reported(weights=_sum(_MODEL, log), cache=_sum(_CACHE, log), buffer=_sum(_BUFFER, log))


def _load(arguments: tuple[str, ...]) -> str:
    """Load the model in a process of its own; return its log."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-2000:]
    return log


def _sum(pattern: re.Pattern[str], log: str) -> float:
    sizes = pattern.findall(log)
    assert sizes, f"llama.cpp did not log {pattern.pattern}"
    return sum(map(float, sizes)) * 2**20
