"""The many ways in which people, drivers and buses write the name of one GPU, brought to one.

`NVIDIA GeForce RTX 5070 Ti` (NVML), `5070ti`, `rtx-5070-ti` and `NVIDIA Corporation GB203 [GeForce RTX 5070 Ti]`
(`lspci`) all name the same GPU. A spelling here is lower case with single spaces; `compact` drops even those.
"""

from __future__ import annotations

import re
from functools import lru_cache

from corral.hardware.unlisted import NAMES

_SPELLINGS = (
    (re.compile(r"\blaptop( gpu)?\b"), "mobile"),
    (re.compile(r"\bwith max q design\b"), "max q"),
    (re.compile(r"\bgraphics\b|\bworkstation edition\b|\bedition\b|\bgeneration\b|\bhbm\d\w?\b|\(r\)|\(tm\)"), " "),
    (re.compile(r"\b(\d{1,3}(?:\.\d+)?)\s*(?:gib|gb|gi|g)\b"), r"\g<1>gb"),
    (re.compile(r"(?<=\d)\s*ti ?s\b"), " ti super"),  # `4070 TiS`, `4070TiS`
    (re.compile(r"\b([2-5]0\d0)s\b"), r"\1 super"),  # `4080S`; only GeForce RTX has such numbers
)
_MAKER = re.compile(r"^(nvidia|amd|ati|intel)\s+")
_COMPUTER = re.compile(r"^(mac ?mini|mac ?studio|mac ?pro|macbook ?(?:air|pro)|imac)\s+(?=m\d)")
_FAMILY = re.compile(r"^(geforce|radeon|quadro|tesla|instinct|apple|jetson|firepro|data center gpu)\s+(?=\S)")
_PREFIX = re.compile(r"^(rtx|gtx|rx|arc)\s+(?=\S)")
_PROFESSIONAL = re.compile(r"^(ai )?pro\s+(?=[a-z]\d)")
"""`Radeon Pro W7900` and `Arc Pro B60` are called W7900 and B60; `RTX PRO 6000` never just 6000."""
_MEMORY_SIZE = re.compile(r"\s*\b(\d+(?:\.\d+)?)gb\b")
_ON_THE_BUS = re.compile(r"\[([^\[\]]+)\](?:\s*\(rev \w+\))?\s*$")
_SEPARATORS = re.compile(r"[\s_\-()\[\]]+")
_CLASS_PREFIX = re.compile(r"^((geforce|radeon|tesla|instinct)\s+)*((rtx|gtx)\s+)?(?=\S)")
GEFORCE = re.compile(r"GTX? \d|RTX [2-9]0[5-9]0\b")
"""Begins the name of a GeForce: RTX 4090 is one, and RTX 4000 Ada Generation is not, for numbers of professional GPUs
end otherwise."""
_GIB = 2**30
QUALIFIERS = frozenset({"ti", "super", "d", "xt", "xtx", "gre", "x2", "mobile", "max", "q", "le", "se", "ultra", "pro"})
"""Words that make another model of a name: an RTX 3080 with 20 GB is not an RTX 3080 Ti with 20 GB."""
BOARD_MAKERS = frozenset(
    {"acer", "asrock", "asus", "biostar", "colorful", "dell", "evga", "founders", "gainward", "galax", "gigabyte"}
    | {"gunnir", "hp", "inno3d", "kfa2", "lenovo", "leadtek", "manli", "maxsun", "msi", "palit", "pny", "powercolor"}
    | {"sapphire", "sparkle", "xfx", "yeston", "zotac"}
)
"""Makers of boards, whose series (`SUPRIM X`, `Nitro+`) is not part of a model's name; NVIDIA's are `Founders`."""


_GPU_OF_COMPUTER = {re.sub(r"[^a-z0-9]", "", name): re.sub(r" (?=GB$)", "", gpu).lower() for name, gpu in NAMES.items()}


def list_spellings(name: str) -> tuple[str, ...]:
    """List the ways to write a name, from the whole to the shortest (`geforce rtx 4090`, `rtx 4090`, `4090`)."""
    on_the_bus = _ON_THE_BUS.search(name) if "," in name or "Corporation" in name else None
    names = [_spell(on_the_bus.group(1) if on_the_bus else name)]
    for prefix in (_FAMILY, _FAMILY, _PREFIX):  # `radeon instinct mi300x` has two families
        shorter = prefix.sub("", names[-1])
        if shorter != names[-1]:
            names.append(shorter)
    return tuple(names)


def remove_professional(name: str) -> str | None:
    """Shorten `Radeon Pro W7900` to `w7900`; None for a name of no professional family of AMD or Intel."""
    shortest = list_spellings(name)[-1]
    shorter = _PROFESSIONAL.sub("", shortest)
    return None if shorter == shortest else shorter


def list_alternatives(name: str) -> tuple[str, ...]:
    """List the names in one that stands for several GPUs on one chip: `Radeon RX 7900 XT/7900 XTX`."""
    return tuple(part for part in list_spellings(name)[0].split("/") if part.strip())


def compact(spelling: str) -> str:
    """Drop everything but letters and digits."""
    return re.sub(r"[^a-z0-9]", "", spelling)


def remove_size(spelling: str) -> str:
    """Drop the memory size: `rtx 3060 12gb` -> `rtx 3060`."""
    return _MEMORY_SIZE.sub("", spelling)


def parse_size(spelling: str) -> int | None:
    """Read the memory size out of a spelling, in bytes; None when it has none."""
    match = _MEMORY_SIZE.search(spelling)
    return round(float(match.group(1)) * _GIB) if match else None


@lru_cache(maxsize=1024)  # a cluster has few models, and its nodes are compared by their classes
def name_class(model_name: str) -> str:
    """Name the class of a model: its name without maker, family, memory size and spaces (`RTX 5070 Ti` -> `5070ti`).

    `3060`, `a4000` and `rx7900xtx` are classes: `rx`, `arc` and `quadro` stay, since a GTX 480 is not an RX 480. The
    result is a valid value of a Kubernetes label; empty only when the name has no letter or digit.
    """
    return compact(_CLASS_PREFIX.sub("", remove_size(list_spellings(model_name)[0])))


def _spell(name: str) -> str:
    text = _SEPARATORS.sub(" ", name.lower()).strip()
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = _COMPUTER.sub("apple ", _MAKER.sub("", " ".join(text.split())))
    computer = _GPU_OF_COMPUTER.get(compact(remove_size(text)))
    return text if computer is None else " ".join((computer, *(f"{size}gb" for size in _MEMORY_SIZE.findall(text))))
