"""The error that a cluster file raises: all of its problems at once."""

from __future__ import annotations

from typing import ClassVar

from corral.errors import ProblemsError


class ClusterFileError(ProblemsError):
    """A cluster file that cannot be used; `problems` has every reason, in the order of the file."""

    code: ClassVar[str] = "cluster.invalid"
