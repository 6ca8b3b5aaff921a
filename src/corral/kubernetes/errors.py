"""Refusals of an API server, and reasons why it does not answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from corral.errors import CorralError, Kind


class NoClusterError(CorralError):
    """There is no kubeconfig, or it has no such context."""

    code: ClassVar[str] = "kubernetes.no_cluster"
    kind: ClassVar[Kind] = Kind.MISSING


class UnreachableError(CorralError):
    """The API server does not answer, or answers that it cannot at the moment."""

    code: ClassVar[str] = "kubernetes.unreachable"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class ForbiddenError(CorralError):
    """The credentials of the context do not allow a verb; `what` has the verb and the kind."""

    code: ClassVar[str] = "kubernetes.forbidden"
    kind: ClassVar[Kind] = Kind.DENIED


class RefusedError(CorralError):
    """The API server refuses an object: it is invalid, or an admission webhook says no."""

    code: ClassVar[str] = "kubernetes.refused"
    kind: ClassVar[Kind] = Kind.INVALID


class ChangedMeanwhileError(RefusedError):
    """An object has another version than the one that was read."""

    code: ClassVar[str] = "kubernetes.changed_meanwhile"
    kind: ClassVar[Kind] = Kind.CONFLICT


class UnknownKindError(CorralError):
    """The API server does not serve a kind: its CRD is not installed."""

    code: ClassVar[str] = "kubernetes.unknown_kind"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldConflict:
    """A field that another manager has set to another value."""

    manager: str
    """As kubectl or a controller calls itself, `kubectl-set`; with the verb, in the API server's words."""
    field: str
    """`.spec.replicas`"""


class FieldConflictError(CorralError):
    """Others have set fields of an object to other values; `conflicts` has all of them."""

    code: ClassVar[str] = "kubernetes.conflict"
    kind: ClassVar[Kind] = Kind.CONFLICT

    def __init__(self, what: str, conflicts: tuple[FieldConflict, ...], *, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.conflicts = conflicts
