"""Uploads that are on their way: they take the disk already, and are in no owner's quota yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

from corral.tasks.store.uploads import refuse_over_quota
from corral.units import Bytes


class ArrivingBytes:
    """Bytes on their way, by owner."""

    def __init__(self) -> None:
        self._bytes = Counter[str]()

    @contextmanager
    def open(self, owner: str, quota: Bytes) -> Generator[Arriving]:
        """Count one upload of an owner while it lasts."""
        arriving = Arriving(self._bytes, owner, quota)
        try:
            yield arriving
        finally:
            self._bytes[owner] -= arriving.size
            if not self._bytes[owner]:
                del self._bytes[owner]


class Arriving:
    """One upload on its way."""

    def __init__(self, all_bytes: Counter[str], owner: str, quota: Bytes) -> None:
        self._bytes = all_bytes
        self._owner = owner
        self._quota = quota
        self.size = 0

    def refuse(self, coming: int) -> None:
        """Return when so many bytes more are within the owner's quota. Raises: UploadQuotaError."""
        refuse_over_quota(self._owner, self._bytes[self._owner] + coming, self._quota)

    async def count(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass the bytes on. Raises: UploadQuotaError."""
        async for chunk in chunks:
            self.refuse(len(chunk))
            self.size += len(chunk)
            self._bytes[self._owner] += len(chunk)
            yield chunk
