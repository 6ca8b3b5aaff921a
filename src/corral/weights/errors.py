"""The failures of model files, in the words of the person who asked for them."""

from __future__ import annotations

from corral.errors import CorralError, Kind, ProblemsError


class ModelNameError(CorralError):
    """A name that is neither in the catalogue nor a form that can be fetched."""

    code = "models.name_unknown"
    kind = Kind.INVALID


class ModelTakenError(CorralError):
    """A name that a model from elsewhere has."""

    code = "models.taken"
    kind = Kind.CONFLICT


class ModelMissingError(CorralError):
    """A model that can be named but is not in the store."""

    code = "models.missing"
    kind = Kind.MISSING


class ModelDamagedError(CorralError):
    """A model in the store whose files are not what was stored."""

    code = "models.damaged"
    kind = Kind.CONFLICT


class SourceError(CorralError):
    """One source did not give the model; the next one might."""

    code = "models.source_failed"
    kind = Kind.UNAVAILABLE


class SourceDeniedError(SourceError):
    """The source wants other credentials."""

    code = "models.source_denied"
    kind = Kind.DENIED


class ChecksumError(SourceError):
    """A source gave other bytes than were promised; they are deleted."""

    code = "models.checksum_mismatch"
    kind = Kind.CONFLICT


class NotAModelError(SourceError):
    """A source gave a file that is not what its name says, or a part of it."""

    code = "models.not_a_model"
    kind = Kind.INVALID


class PlacingError(CorralError):
    """A model file cannot be placed where another program looks for it."""

    code = "models.not_placed"
    kind = Kind.CONFLICT


class UnsafeArchiveError(SourceError):
    """An archive that tries to write outside the folder it is unpacked into."""

    code = "models.unsafe_archive"
    kind = Kind.INVALID


class PipMissingError(SourceError):
    """This Python has no pip, so packages that carry weights cannot be fetched."""

    code = "models.pip_missing"
    kind = Kind.UNAVAILABLE


class DiskFullError(CorralError):
    """The disk of the model store is full; no other source helps."""

    code = "models.disk_full"
    kind = Kind.NO_CAPACITY


class StoreUnwritableError(CorralError):
    """The folder of the model store cannot be written to."""

    code = "models.store_unwritable"
    kind = Kind.DENIED


class PullError(ProblemsError):
    """No source gave the model; there is one problem for each source that was tried, in order."""

    code = "models.pull_failed"
    kind = Kind.UNAVAILABLE
