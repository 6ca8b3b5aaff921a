"""The failures of reading the header of a model file."""

from __future__ import annotations

from typing import ClassVar

from corral.errors import CorralError, Kind


class HeaderError(CorralError):
    """A model file whose header cannot be read: cut short, damaged, or none at all."""

    code: ClassVar[str] = "models.header_invalid"
    kind: ClassVar[Kind] = Kind.INVALID


class UnknownFormatError(CorralError):
    """A file that is neither GGUF nor safetensors."""

    code: ClassVar[str] = "models.format_unknown"
    kind: ClassVar[Kind] = Kind.INVALID


class MoreBytesNeeded(Exception):
    """The bytes that are here end before the header does: not a failure, the reader asks for more of the file."""

    def __init__(self, at_least: int) -> None:
        super().__init__(f"{at_least} bytes are needed")
        self.at_least = at_least
