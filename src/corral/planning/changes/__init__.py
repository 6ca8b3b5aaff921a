"""What `corral upgrade` is asked: changes of hardware, read from options or a file, and the cluster file they make.

Belongs here: reading changes, checking them all at once, and the new text with the user's comments.
Does not belong here: judging a change (`corral.planning.upgrade`), reading or writing files.
May import: the same as `corral.planning`.
"""

from corral.planning.changes.applying import apply_changes, find_problems
from corral.planning.changes.parsing import parse_file, parse_options
from corral.planning.changes.values import Change, Changed, ChangesError, GpuAddress, GpuMoves, Note

__all__ = [
    "Change",
    "Changed",
    "ChangesError",
    "GpuAddress",
    "GpuMoves",
    "Note",
    "apply_changes",
    "find_problems",
    "parse_file",
    "parse_options",
]
