"""The guide of `corral render` knows every target."""

from __future__ import annotations

import re
from pathlib import Path

from corral.rendering.targets import TARGETS

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "render.md").read_text(encoding="utf-8")


def test_every_target_has_a_row_with_its_folder() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)[`/]", GUIDE, re.MULTILINE)
    assert rows == [(target.name, target.name) for target in TARGETS]
