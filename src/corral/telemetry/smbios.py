"""Reads the board's own tables: installed memory and the power supply, where the maker wrote them.

The format is that of the System Management BIOS specification 3.7 (DMTF DSP0134): structures of type 17 (memory device,
7.18) and 39 (system power supply, 7.40), each a formatted area followed by its strings.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corral.units import Bytes

TABLES = Path("sys/firmware/dmi/tables/DMI")
_MEMORY_DEVICE, _POWER_SUPPLY, _END = 17, 39, 127
_HEADER = 4
_MEMORY_SIZE, _MEMORY_SIZE_IF_LARGE = 0x0C, 0x1C
_NO_MODULE, _SIZE_UNKNOWN, _SIZE_IS_ELSEWHERE = 0, 0xFFFF, 0x7FFF
_IN_KIB = 0x8000  # bit 15: the size is in KiB, else in MiB
_MAKER, _DEVICE_NAME = 0x07, 0x06
_CAPACITY, _CHARACTERISTICS = 0x0C, 0x0E
_CAPACITY_UNKNOWN = 0x8000
_IS_PRESENT = 0x02
_PLACEHOLDERS = ("to be filled", "default string", "not specified", "unknown", "n/a", "none")
"""What makers leave in strings that they did not fill in."""


@dataclass(frozen=True, slots=True)
class _Structure:
    kind: int
    area: bytes
    strings: tuple[str, ...]

    def read_word(self, offset: int) -> int | None:
        return struct.unpack_from("<H", self.area, offset)[0] if len(self.area) >= offset + 2 else None

    def read_double(self, offset: int) -> int | None:
        return struct.unpack_from("<I", self.area, offset)[0] if len(self.area) >= offset + 4 else None

    def read_string(self, offset: int) -> str | None:
        number = self.area[offset] if len(self.area) > offset else 0
        text = self.strings[number - 1].strip() if 0 < number <= len(self.strings) else ""
        return None if not text or text.lower().startswith(_PLACEHOLDERS) else text


@dataclass(frozen=True, slots=True, kw_only=True)
class SmbiosTables:
    """The entries of the board's maker in its tables (SMBIOS); on most desktop boards little of it is true."""

    memory: Bytes | None = None
    """Sum of the installed modules."""
    psu_w: int | None = None
    """The power supply's output; None also when there are several, which can replace each other."""
    psu_name: str | None = None
    """Maker and model of the power supply."""


def read_smbios(root: Path = Path("/")) -> SmbiosTables | None:
    """Read the tables that the kernel shows; None when there are none, or when only root can read them."""
    try:
        tables = (root / TABLES).read_bytes()
    except OSError:
        return None
    return understand(tables)


def understand(tables: bytes) -> SmbiosTables:
    """Find memory and power supply in the raw tables; a table that ends too early gives what precedes its end."""
    structures = tuple(_split_structures(tables))
    supplies = [structure for structure in structures if structure.kind == _POWER_SUPPLY and _is_present(structure)]
    supply = supplies[0] if len(supplies) == 1 else None
    names = [text for offset in (_MAKER, _DEVICE_NAME) if supply and (text := supply.read_string(offset))]
    return SmbiosTables(
        memory=_sum_memory([structure for structure in structures if structure.kind == _MEMORY_DEVICE]),
        psu_w=None if supply is None else _read_watts(supply),
        psu_name=" ".join(names) or None,
    )


def _split_structures(tables: bytes) -> Iterator[_Structure]:
    offset = 0
    while offset + _HEADER <= len(tables):
        kind, length = tables[offset], tables[offset + 1]
        end = tables.find(b"\0\0", offset + length)
        if length < _HEADER or end < 0 or kind == _END:
            return
        strings = tables[offset + length : end].split(b"\0")
        yield _Structure(
            kind, tables[offset : offset + length], tuple(text.decode("latin-1") for text in strings if text)
        )
        offset = end + 2


def _sum_memory(devices: list[_Structure]) -> Bytes | None:
    """Add up the modules; None when the size of one is unknown, or when there is none."""
    sizes = [_read_size(device) for device in devices]
    known = [size for size in sizes if size is not None]
    return Bytes(sum(known)) if known and len(known) == len(sizes) and sum(known) else None


def _read_size(device: _Structure) -> int | None:
    size = device.read_word(_MEMORY_SIZE)
    if size is None or size == _SIZE_UNKNOWN:
        return None
    if size == _SIZE_IS_ELSEWHERE:
        large = device.read_double(_MEMORY_SIZE_IF_LARGE)
        return None if large is None else (large & 0x7FFFFFFF) * 2**20
    return (size & ~_IN_KIB) * 2**10 if size & _IN_KIB else size * 2**20


def _is_present(supply: _Structure) -> bool:
    characteristics = supply.read_word(_CHARACTERISTICS)
    return characteristics is not None and bool(characteristics & _IS_PRESENT)


def _read_watts(supply: _Structure) -> int | None:
    watts = supply.read_word(_CAPACITY)
    return None if watts in (None, 0, _CAPACITY_UNKNOWN) else watts
