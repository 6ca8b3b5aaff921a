"""XID errors: NVIDIA's numbers for what its driver reports of a GPU.

The numbers and their meaning are NVIDIA's ("XID Errors", https://docs.nvidia.com/deploy/xid-errors/index.html).
"""

from __future__ import annotations

FELL_OFF_THE_BUS = 79
XIDS_OF_PROGRAMS = (13, 31, 43, 45, 68, 109)
"""Errors that a program makes, after which a GPU works on: the same that NVIDIA's device plugin passes over."""
_MEANINGS = {
    48: "a memory error that cannot be corrected",
    61: "an internal error of its microcontroller",
    62: "an internal error of its microcontroller",
    63: "a row of its memory will be replaced",
    64: "a row of its memory could not be replaced",
    74: "an error of NVLink",
    FELL_OFF_THE_BUS: "it fell off the bus",
    94: "a memory error that one program had",
    95: "a memory error that every program can have had",
    119: "its system processor does not answer",
    120: "an error of its system processor",
}


def describe_xid(number: int) -> str:
    """Describe an XID for people: `XID 79: it fell off the bus`."""
    meaning = _MEANINGS.get(number)
    return f"XID {number}" if meaning is None else f"XID {number}: {meaning}"
