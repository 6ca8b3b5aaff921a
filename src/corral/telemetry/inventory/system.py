"""Which system runs here, and how others reach it."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import Path

import psutil

_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_DEFAULT_ROUTE = "00000000"


def os_release(root: Path = Path("/")) -> tuple[str | None, str | None]:
    """Read ID and VERSION_ID of os-release (https://www.freedesktop.org/software/systemd/man/os-release.html)."""
    text = next((found for name in _OS_RELEASE if (found := _text(root / name))), "")
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    return _unquoted(values.get("ID")), _unquoted(values.get("VERSION_ID"))


def addresses(root: Path = Path("/")) -> tuple[str | None, tuple[str, ...]]:
    """Return the address that other networks see, and all: of every interface, loopback and link-local left out."""
    by_interface = {
        name: [text for one in found if (text := _usable(one.address))] for name, found in psutil.net_if_addrs().items()
    }
    leading = by_interface.get(_default_interface(root) or "", [])
    everything = dict.fromkeys([*leading, *(text for texts in by_interface.values() for text in texts)])
    return (leading or [None])[0], tuple(everything)


def _default_interface(root: Path) -> str | None:
    for line in _text(root / "proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 1 and fields[1] == _DEFAULT_ROUTE:
            return fields[0]
    return None


def _usable(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:  # a hardware address
        return None
    return None if address.is_loopback or address.is_link_local else str(address)


def _unquoted(text: str | None) -> str | None:
    try:
        words = shlex.split(text or "")
    except ValueError:
        return None
    return words[0] if words else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
