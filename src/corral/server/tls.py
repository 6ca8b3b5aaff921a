"""TLS of the main port: a certificate and its key in files, which are read again when they change.

Programs that renew certificates replace the files; connections that are open keep the certificate of their beginning.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import structlog

from corral.errors import CorralError, Kind

LOOK_EVERY_S = 60.0

_log = structlog.get_logger()


class TlsFilesError(CorralError):
    """Certificate and key cannot be used."""

    code: ClassVar[str] = "server.tls_files"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate, with those that it is signed by, and its key; both in PEM."""

    certificate: Path
    key: Path

    def make_context(self) -> ssl.SSLContext:
        """Return what connections are encrypted with. Raises: TlsFilesError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let new connections have what is in the files now. Raises: TlsFilesError."""
        for path in (self.certificate, self.key):
            if not path.is_file():
                raise TlsFilesError("there is no such file", where=str(path), hint="name files in PEM that exist")
        try:
            # Without a password function, OpenSSL would ask at the terminal for that of a locked key.
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise TlsFilesError(
                f"certificate and key cannot be used: {error.strerror or error}",
                where=f"{self.certificate}, {self.key}",
                hint="name a certificate in PEM and the key that it was made for, without a password",
            ) from error

    def read_state(self) -> tuple[object, ...]:
        """Return what changes when a file is replaced."""
        states = [path.stat() for path in (self.certificate, self.key)]
        return tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states)


async def follow_files(
    files: TlsFiles,
    context: ssl.SSLContext,
    *,
    every_s: float = LOOK_EVERY_S,
    loaded: Callable[[], None] = lambda: None,
) -> None:
    """Load the files again whenever they change, until cancelled; a pair that does not fit leaves the last one.

    `loaded` is called after each change that was taken.
    """
    seen = files.read_state()
    while True:
        await asyncio.sleep(every_s)
        try:
            state = await asyncio.to_thread(files.read_state)
            if state == seen:
                continue
            await asyncio.to_thread(files.make_context)  # a pair that does not fit changes nothing
            files.load_into(context)
        except (OSError, TlsFilesError) as error:  # the files are being replaced one after the other: the next look
            _log.warning("certificate_not_read", error=str(error))
            continue
        seen = state
        _log.info("certificate_read", certificate=str(files.certificate))
        loaded()
