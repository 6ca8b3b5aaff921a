"""The input of diagnoses, and what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corral.linting.values import Severity
from corral.snapshot import ObjectKey

UNSTARTED = (126, 127)
"""Exit codes of a program that cannot be started, and of one that is not there (POSIX, Exit Status for Commands)."""


@dataclass(frozen=True, slots=True, order=True)
class ContainerKey:
    """The name of a container of a pod."""

    namespace: str
    pod: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}, container {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """The answer of a program that ran inside of a container."""

    exit_code: int
    text: str
    """The text of both of its outputs."""

    @property
    def is_unstarted(self) -> bool:
        """Whether the program did not run, since the container does not have it or cannot start it."""
        return self.exit_code in UNSTARTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The questions to containers that diagnoses need answered."""

    logs: tuple[ContainerKey, ...]
    """Containers whose log is read, from its end."""
    gpus: tuple[ContainerKey, ...]
    """Containers in which `nvidia-smi -L` runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers of containers; one that is missing was not asked for or did not come."""

    logs: Mapping[ContainerKey, str] = field(default_factory=dict[ContainerKey, str])
    gpus: Mapping[ContainerKey, Printed] = field(default_factory=dict[ContainerKey, Printed])


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A value that a finding is concluded from."""

    object: ObjectKey
    place: str
    """The path of a field (`spec.strategy.type`), or `event REASON`, `log of CONTAINER`, `nvidia-smi in CONTAINER`."""
    value: str
    """As the cluster has it; `not set` for a field that is absent."""

    def __str__(self) -> str:
        return f"{self.object} {self.place}: {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """One case of a pitfall, at one object."""

    subject: ObjectKey
    cause: str
    """The fact with the values seen, lower case, without a final period."""
    evidence: tuple[Evidence, ...]
    fix: str
    """One imperative, or a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pitfall:
    """A cause of trouble that a snapshot can show."""

    id: str
    """That of the rule of `corral lint` with the same cause; `K..` for what only a running cluster shows."""
    name: str
    summary: str
    severity: Severity
    has_page: bool
    """Whether `docs/rules` has a page for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A pitfall that the cluster is in."""

    pitfall: Pitfall
    subject: ObjectKey
    cause: str
    evidence: tuple[Evidence, ...]
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A diagnosis that could not be made."""

    pitfall: Pitfall
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnoses:
    """The result of all diagnoses, the worst first."""

    findings: tuple[Finding, ...]
    unjudged: tuple[Unjudged, ...]
