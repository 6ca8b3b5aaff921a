"""Whether a local engine's libraries are here, found without importing them."""

from __future__ import annotations

from importlib.util import find_spec

from corral.work import EngineUnavailableError

_LIBRARIES = {"llama": "xllamacpp", "whisper": "faster_whisper", "piper": "piper"}


def installed(name: str) -> None:
    """Return when the engine's library is installed. Raises: EngineUnavailableError with the command that mends it."""
    library = _LIBRARIES.get(name)
    if library is not None and find_spec(library) is None:
        what = f"the {name} engine is not installed: no library {library!r}"
        raise EngineUnavailableError(what, hint=mending_command(name))


def mending_command(name: str) -> str:
    """Return the command that installs what the engine needs."""
    return f"pip install 'corral[{name}]'"
