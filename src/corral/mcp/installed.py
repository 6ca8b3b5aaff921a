"""Whether the packages that the tools need are installed: an extra, for they are large and most servers need none."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import ClassVar

from corral.errors import CorralError, Kind

_MODULES = ("mcp",)


class SdkMissingError(CorralError):
    """The packages of the extra `mcp` are not installed."""

    code: ClassVar[str] = "mcp.not_installed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


def require_sdk(modules: Sequence[str] = _MODULES) -> None:
    """Return when the packages of these modules are installed. Raises: SdkMissingError."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise SdkMissingError(
            f"the tools for assistants are not installed: there is no module {', '.join(missing)}",
            hint="pip install 'corral[mcp]' next to Corral; with uv, in the checkout: uv tool install '.[local,mcp]'",
        )
