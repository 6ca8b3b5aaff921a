"""The takes that a set lacks, of missing pictures and of those made anew; nothing that exists is made twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corral.studio.sets.expanding import derive_seed, list_changes
from corral.studio.sets.values import KnownPicture, PictureState, WantedPicture


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTake:
    """A take that is not made yet."""

    picture: WantedPicture
    number: int
    round: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StalePicture:
    """A picture that exists and would be made otherwise now."""

    key: str
    changed: tuple[str, ...]
    """The inputs that are not what they were: `character.look`, `task.inputs.prompt`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlan:
    """The takes that a set lacks, and the state of the rest."""

    takes: tuple[NewTake, ...]
    kept: int
    """Pictures that are there, or under way."""
    stale: tuple[StalePicture, ...]
    """Those that are there and were made from other inputs; none that `takes` makes anew."""
    unwanted: tuple[str, ...]
    """Keys of pictures that the file no longer asks for."""


def plan_set(
    name: str,
    wanted: Sequence[WantedPicture],
    known: Mapping[str, KnownPicture],
    *,
    remakes: int,
    remake_stale: bool = False,  # chosen by the person who asks
) -> SetPlan:
    """Return what the set `name` lacks.

    What is accepted stays, unless it is stale and `remake_stale` asks for it anew; what is under way goes on as it
    began. What failed, was cancelled, or was rejected fewer times than `remakes` allows now, is made again.
    """
    takes: list[NewTake] = []
    stale: list[StalePicture] = []
    for picture in wanted:
        before = known.get(picture.key)
        if before is None:
            takes.append(make_take(name, picture, number=1, round=0))
            continue
        is_changed = before.digest != picture.digest
        again = _find_round(before, is_changed, remakes=remakes, remake_stale=remake_stale)
        if again is not None:
            takes.append(make_take(name, picture, number=before.number + 1, round=again))
        elif is_changed:
            stale.append(StalePicture(key=picture.key, changed=list_changes(before.sources, picture.sources)))
    stale.sort(key=lambda picture: picture.key)  # a file that was stored has its shots in another order
    asked = {picture.key for picture in wanted}
    unwanted = tuple(key for key, before in known.items() if before.wanted and key not in asked)
    return SetPlan(takes=tuple(takes), kept=len(wanted) - len(takes), stale=tuple(stale), unwanted=unwanted)


def _find_round(before: KnownPicture, is_changed: bool, *, remakes: int, remake_stale: bool) -> int | None:
    """Return the round of the take to make; None where the picture stays as it is."""
    match before.state:
        case PictureState.OPEN:
            return None
        case PictureState.ACCEPTED:
            return 0 if is_changed and remake_stale else None
        case PictureState.FAILED | PictureState.CANCELLED:
            return 0 if is_changed else before.round
        case PictureState.REJECTED:
            if is_changed:
                return 0
            return before.round + 1 if before.round < remakes else None


def make_take(name: str, picture: WantedPicture, *, number: int, round: int) -> NewTake:
    """Return a take with its seed: the picture's own first, then others that follow from its key and the round."""
    seed = picture.first_seed if round == 0 else derive_seed(name, picture.key, round)
    return NewTake(picture=picture, number=number, round=round, seed=seed)


def make_remake(name: str, picture: WantedPicture, before: KnownPicture) -> NewTake:
    """Return the take that follows the picture's last one, with another seed, whatever the set's bound."""
    return make_take(name, picture, number=before.number + 1, round=before.round + 1)
