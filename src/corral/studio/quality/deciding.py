"""The verdict on a picture, by what was measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from corral.work import Json

DECODABLE = "decodable"
"""The measure that is 0 of a file that is not a picture; nothing else of it is measured."""
HASH = "phash"
"""The result that holds a picture's perceptual hash: 64 bits as 16 hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The values that a measure can have in a picture that is kept; None is unbounded."""

    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a picture is kept, and every reason why not."""

    reasons: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.reasons


def decide(measurements: Mapping[str, float], bounds: Mapping[str, Bound], near: Sequence[str] = ()) -> Verdict:
    """Return the verdict; `near` has the keys of kept pictures that are nearly the same.

    A measure that is missing rejects: what was not measured is not known to be good.
    """
    if measurements.get(DECODABLE) == 0:
        return Verdict(reasons=("the file is not a picture that can be decoded",))
    reasons = (_find_reason(name, measurements.get(name), bound) for name, bound in bounds.items())
    return Verdict(reasons=(*filter(None, reasons), *(f"nearly the same as {key}" for key in near)))


def _find_reason(name: str, value: float | None, bound: Bound) -> str | None:
    if value is None:
        return f"{name} was not measured"
    if bound.least is not None and value < bound.least:
        return f"{name} is {value:g}, below {bound.least:g}"
    if bound.most is not None and value > bound.most:
        return f"{name} is {value:g}, above {bound.most:g}"
    return None


def find_near(phash: str | None, kept: Mapping[str, str], distance: int | None) -> tuple[str, ...]:
    """Return the keys of kept pictures whose perceptual hashes differ in at most `distance` bits; none without one."""
    if phash is None or distance is None:
        return ()
    bits = int(phash, 16)
    return tuple(key for key, other in kept.items() if (bits ^ int(other, 16)).bit_count() <= distance)


def read_results(results: Iterable[Mapping[str, Json]]) -> tuple[dict[str, float], str | None]:
    """Return the numbers among the results of checks, and the perceptual hash; of two with one name the later."""
    measurements: dict[str, float] = {}
    phash: str | None = None
    for result in results:
        for name, value in result.items():
            if isinstance(value, bool | int | float):
                measurements[name] = float(value)
            elif name == HASH and isinstance(value, str):
                phash = value
    return measurements, phash
