"""Reading the board's tables (SMBIOS 3.7): memory modules and power supplies."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from corral.telemetry.smbios import SmbiosTables, understand

GIB = 2**30


def a_structure(kind: int, area: bytes, *strings: str) -> bytes:
    """Lay out one structure: header, formatted area, strings, and the empty string that ends them."""
    text = b"".join(string.encode() + b"\0" for string in strings) + (b"\0" if strings else b"\0\0")
    return struct.pack("<BBH", kind, len(area) + 4, kind) + area + text


def a_module(size: int, large: int = 0) -> bytes:
    """A memory device (type 17): size at 0x0C, the size of a large one at 0x1C."""
    area = bytearray(0x22 - 4)
    struct.pack_into("<H", area, 0x0C - 4, size)
    struct.pack_into("<I", area, 0x1C - 4, large)
    return a_structure(17, bytes(area), "DIMM A1")


def a_supply(watts: int, *, present: bool = True, strings: tuple[str, ...] = ("ACME", "P1000")) -> bytes:
    """A power supply (type 39): maker at 0x07, name at 0x06, capacity at 0x0C, characteristics at 0x0E."""
    area = bytearray(0x16 - 4)
    area[0x07 - 4], area[0x06 - 4] = 1, 2
    struct.pack_into("<HH", area, 0x0C - 4, watts, 0x02 if present else 0)
    return a_structure(39, bytes(area), *strings)


END = a_structure(127, b"")
BIOS = a_structure(0, bytes(20), "Vendor", "1.0")


def test_installed_modules_are_added_up_and_empty_sockets_are_not() -> None:
    tables = BIOS + a_module(16384) + a_module(0) + a_module(0x7FFF, 32768) + END

    assert understand(tables).memory == 48 * GIB


def test_a_module_of_unknown_size_makes_the_sum_unknown() -> None:
    assert understand(a_module(16384) + a_module(0xFFFF) + END).memory is None


def test_the_size_of_a_small_module_is_in_kib() -> None:
    assert understand(a_module(0x8000 | 512) + END).memory == 512 * 1024


def test_a_power_supply_is_read_with_its_name() -> None:
    assert understand(BIOS + a_supply(1000) + END) == SmbiosTables(psu_w=1000, psu_name="ACME P1000")


def test_what_the_maker_did_not_fill_in_is_unknown() -> None:
    supply = a_supply(0x8000, strings=("To Be Filled By O.E.M.", "Default string"))

    assert understand(supply + END) == SmbiosTables()


def test_a_bay_without_a_supply_does_not_count_and_two_supplies_are_not_added_up() -> None:
    assert understand(a_supply(0, present=False) + a_supply(800) + END).psu_w == 800
    assert understand(a_supply(800) + a_supply(800) + END).psu_w is None


def test_a_table_that_ends_too_early_gives_what_stands_before() -> None:
    tables = a_module(16384) + a_supply(1000)

    assert understand(tables[:-5]) == SmbiosTables(memory=16 * GIB)


@given(st.binary(max_size=300))
def test_whatever_stands_in_the_tables_reading_them_ends(tables: bytes) -> None:
    assert isinstance(understand(tables), SmbiosTables)
    assert isinstance(understand(a_module(16384) + tables), SmbiosTables)
