"""One RTX 4090 that the programs of a test share: what they hold is what nvml.c reports of it, process by process.

As a program, each holds memory while it lives, or while it has a model loaded:
`python tests/doubles/shared_card.py FOLDER comfyui|ollama PORT` serves a double, and
`python tests/doubles/shared_card.py FOLDER MIB COMMAND...` becomes a command that holds so much to its end.
What is taken beyond the card's memory is not refused, as a driver would: it is noted, and a test sees that it happened.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from doubles.comfyui import LOADED, ComfyDouble
from doubles.nvml_library import build_library, machine, write_state
from doubles.ollama import OllamaDouble
from doubles.ollama_models import SIZE

TOTAL_MIB = 24_564
"""As nvml.c has it for the machine `single`."""
DRIVER_MIB = 1

MIB = 2**20
_LOOK_S = 0.05


class SharedCard:
    """The card as a test sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "card"
        self.folder.mkdir()
        self.most_mib = 0
        """The most that was held at once."""
        self._state = folder / "card-state"
        self._library = build_library(folder)
        self._show({})

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a process sees the card."""
        return machine(self._library, "single", state=self._state)

    async def watch(self) -> None:
        """Show what programs hold, until cancelled."""
        while True:
            held = self.list_held()
            self.most_mib = max(self.most_mib, sum(held.values()))
            self._show(held)
            await asyncio.sleep(_LOOK_S)

    def list_held(self) -> dict[int, int]:
        """Return what living processes hold, in MiB."""
        held: dict[int, int] = {}
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError, ProcessLookupError, ValueError):
                os.kill(int(path.name), 0)
                held[int(path.name)] = int(path.read_text() or 0)
        return {pid: mib for pid, mib in held.items() if mib}

    def _show(self, held: Mapping[int, int]) -> None:
        processes = (f"process 0 {pid} {mib} C 50" for pid, mib in sorted(held.items()))
        write_state(self._state, f"used 0 {sum(held.values()) + DRIVER_MIB}", *processes)


def hold(folder: Path, mib: int) -> None:
    """Note what this process holds from now on."""
    fresh = folder.parent / f"{os.getpid()}.held"
    fresh.write_text(str(mib))
    fresh.replace(folder / str(os.getpid()))


async def _serve(folder: Path, name: str, port: int) -> None:
    seconds = float(os.environ.get("CORRAL_TEST_SECONDS", "0.2"))
    double = (
        ComfyDouble(port=port, seconds_per_image=seconds)
        if name == "comfyui"
        else OllamaDouble(port=port, seconds_per_token=seconds / 100)
    )
    size = (LOADED if name == "comfyui" else SIZE) // MIB
    async with double:
        while True:
            hold(folder, size if double.loaded else 0)
            await asyncio.sleep(_LOOK_S)


def main() -> None:
    """Be one of the programs."""
    folder, what, *rest = sys.argv[1:]
    if what.isdecimal():
        hold(Path(folder), int(what))
        os.execvp(rest[0], rest)
    asyncio.run(_serve(Path(folder), what, int(rest[0])))


if __name__ == "__main__":
    main()
