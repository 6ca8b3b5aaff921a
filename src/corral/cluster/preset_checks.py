"""Problems of `run: {preset: ...}`: the program's engine, its folder, the arguments that it asks for."""

from __future__ import annotations

from collections.abc import Iterator

from corral.cluster.run_shapes import RunShape
from corral.presets.catalogue import list_presets


def find_preset_problems(engine: str, run: RunShape) -> Iterator[tuple[str, str, str]]:
    """Yield the key below `run`, the problem, and the hint; `run` names a preset that exists."""
    preset = list_presets()[run.preset or ""]
    if preset.engine != engine:
        what = f"{preset.title} is not a server of {engine}"
        yield "preset", what, f"move the instance to `engines: {{{preset.engine}: {{instances: [...]}}}}`"
    if preset.start.needs_file is not None and run.folder is None:
        what = f"the folder of {preset.title} is not named"
        yield "preset", what, f"add `folder: {preset.start.folders[0]}`, the one that has {preset.start.needs_file}"
    if preset.start.asks_for is not None and not run.arguments:
        what = f"{preset.title} is started without `{preset.start.asks_for}`"
        yield "preset", what, f"add `arguments: [...]` with `{preset.start.asks_for}`"
