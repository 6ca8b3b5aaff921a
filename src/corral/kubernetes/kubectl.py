"""kubectl, which has the user's kubeconfig: a call with a deadline, its answer as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar, Protocol

from corral.errors import CorralError, Kind
from corral.work import Json

DEADLINE_S = 20.0
"""Time for a call whole: kubectl asks for the kinds of the API before it asks for the object."""
_TIMEOUT = "--request-timeout=10s"


class KubernetesError(CorralError):
    """The API server gave no answer that can be read; `what` has the call and kubectl's last line."""

    code: ClassVar[str] = "kubernetes.unanswered"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The result of a program."""

    exit_code: int
    out: str
    errors: str


class Shell(Protocol):
    """Runs programs on this machine."""

    def run(self, argv: tuple[str, ...], *, deadline_s: float) -> Ran:
        """Run a program to its end. Raises: CorralError when it is not installed or exceeds its deadline."""
        ...


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The cluster of kubectl's current context."""

    shell: Shell

    def get(self, *words: str) -> Json:
        """Ask for objects. Raises: KubernetesError; CorralError when kubectl cannot be run."""
        ran = self.shell.run(("kubectl", "get", *words, "-o", "json", _TIMEOUT), deadline_s=DEADLINE_S)
        if ran.exit_code != 0:
            last = (ran.errors.strip().splitlines() or ["it said nothing"])[-1]
            raise KubernetesError(f"kubectl get {' '.join(words)}: {last}")
        try:
            return json.loads(ran.out)
        except ValueError as error:
            raise KubernetesError(f"kubectl get {' '.join(words)}: its answer is not JSON") from error

    def run_inside(self, namespace: str, pod: str, container: str, *argv: str) -> Ran:
        """Run a program inside of a container. Raises: CorralError when kubectl cannot be run."""
        words = ("kubectl", "-n", namespace, "exec", pod, "-c", container, _TIMEOUT, "--", *argv)
        return self.shell.run(words, deadline_s=DEADLINE_S)
