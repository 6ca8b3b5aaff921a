"""Writes the cluster file of a machine that has none: the defaults, spelled out so that they can be changed."""

from __future__ import annotations

import json
import re

_DEFAULT_FILE = """\
# Describes the machines, GPUs, engines and queues of one Corral. `corral schema` prints what may stand here.
apiVersion: corral/v1
name: {name}

nodes:
  - name: {node_name} # this machine: its GPUs are found when Corral starts

engines:
  llama: {{}}
  whisper: {{}}
  piper: {{}}
  command: {{enabled: false}} # true lets administrators run any program as a task

queues:
  - name: default
    order: priority
"""


def default_file(name: str, node_name: str) -> str:
    """Write the file that `corral up` uses without one; names are fitted to what the file accepts."""
    return _DEFAULT_FILE.format(name=_quoted(_fitted(name)), node_name=_quoted(_fitted(node_name)))


def _fitted(name: str) -> str:
    """Turn a host name into a node's name: Windows and old networks allow characters that the file does not."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:63].strip("-_.") or "local"


def _quoted(name: str) -> str:
    """Quote what YAML would read as something else than text (`1`, `null`, `true`, `2024-01-01`)."""
    return name if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*-[A-Za-z0-9-]*[a-z0-9]|local|edge", name) else json.dumps(name)
