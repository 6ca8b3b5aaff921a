"""Things in order of a key, for many of them: add, remove and look at the first ones without moving the rest.

A list of sorted lists of bounded size: finding takes O(log n) comparisons, changing moves at most one bucket's
pointers (8 KB). The standard library has no sorted container, and a heap cannot show its first few.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar


class Comparable(Protocol):
    """The comparison that a sorted list needs of its items."""

    def __lt__(self, other: Any, /) -> bool: ...  # Any: the type of the other side is the item's own


Item = TypeVar("Item", bound=Comparable)

_BUCKET = 512
"""Items per bucket before it is split; 100,000 items make about 300 buckets."""


class Sorted(Generic[Item]):
    """Distinct items in order."""

    __slots__ = ("_buckets", "_last", "_size")

    def __init__(self) -> None:
        self._buckets: list[list[Item]] = []
        self._last: list[Item] = []
        self._size = 0

    def add(self, item: Item) -> None:
        """Put an item in its place."""
        self._size += 1
        if not self._buckets:
            self._buckets.append([item])
            self._last.append(item)
            return
        place = min(bisect_left(self._last, item), len(self._buckets) - 1)
        bucket = self._buckets[place]
        insort(bucket, item)
        if len(bucket) > 2 * _BUCKET:
            self._buckets.insert(place + 1, bucket[_BUCKET:])
            self._last.insert(place, bucket[_BUCKET - 1])
            del bucket[_BUCKET:]
        else:
            self._last[place] = bucket[-1]

    def remove(self, item: Item) -> None:
        """Take out an item that is there."""
        place = bisect_left(self._last, item)
        bucket = self._buckets[place]
        del bucket[bisect_left(bucket, item)]
        self._size -= 1
        if bucket:
            self._last[place] = bucket[-1]
        else:
            del self._buckets[place], self._last[place]

    def first(self) -> Item | None:
        """The first item; None when there is none."""
        return self._buckets[0][0] if self._buckets else None

    def last(self) -> Item | None:
        """The last item; None when there is none."""
        return self._last[-1] if self._last else None

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self._buckets)

    def __len__(self) -> int:
        return self._size
