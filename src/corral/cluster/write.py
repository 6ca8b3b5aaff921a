"""Writes the cluster file of a machine that has none: the defaults, spelled out so that they can be changed."""

from __future__ import annotations

import json
import re

_FILE = """\
# Describes the machines, GPUs, engines and queues of one Corral. `corral schema` prints what may stand here.
apiVersion: corral/v1
name: {name}

nodes:
{nodes}

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
    node = f"  - name: {_quoted(fitted(node_name))} # this machine: its GPUs are found when Corral starts"
    return _FILE.format(name=_quoted(fitted(name)), nodes=node)


def file_of(name: str, section: str) -> str:
    """Write a file with one node, whose section is written already (`corral.cluster.editing.section`)."""
    return _FILE.format(name=_quoted(fitted(name)), nodes=section)


def fitted(name: str) -> str:
    """Turn a host name into a node's name: Windows and old networks allow characters that the file does not."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:63].strip("-_.") or "local"


def _quoted(name: str) -> str:
    """Quote what YAML would read as something else than text (`1`, `null`, `true`, `2024-01-01`)."""
    return name if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*-[A-Za-z0-9-]*[a-z0-9]|local|edge", name) else json.dumps(name)
