"""Generates the reference pages and the generated parts of the other pages, or checks that they are up to date.

    python docs/generate/all.py            writes what has changed
    python docs/generate/all.py --check    writes nothing; names what is stale and exits with 1

Pages can be named (`reference/cli.md`); otherwise all are meant.

Nothing of this machine goes into a page, so that everybody generates the same.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import api_page
import cli_page
import errors_page
import file_pages
import metrics_page
import presets_page
import regions
import rendering_page
import rule_pages
import symptoms_page

DOCS = Path(__file__).parents[1]

PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "reference/cli.md": cli_page.render,
        "reference/api.md": api_page.render,
        "reference/cluster-file.md": file_pages.cluster_page,
        "reference/batch-file.md": file_pages.batch_page,
        "reference/set-file.md": file_pages.set_page,
        "reference/errors.md": errors_page.render,
        "reference/metrics.md": metrics_page.render,
        "reference/presets.md": presets_page.render,
        "reference/rendering.md": rendering_page.render_page,
        "reference/symptoms.md": symptoms_page.render,
        "rules/README.md": rule_pages.index_page,
    }
)
"""Pages that are generated as a whole, by their path below `docs/`."""


def wanted(docs: Path, named: Collection[str] = ()) -> Iterator[tuple[Path, str]]:
    """Yield every page of a folder that is generated, in whole or in part, with the text that it should have."""
    for name, render in PAGES.items():
        if not named or name in named:
            yield docs / name, render()
    for path in sorted(docs.rglob("*.md")):
        name = path.relative_to(docs).as_posix()
        if name not in PAGES and (not named or name in named):
            yield path, regions.fill(path.read_text(encoding="utf-8"))


def main(arguments: list[str], docs: Path = DOCS) -> int:
    """Write or check the pages of a folder, and return the exit code. Raises: LookupError as `regions.fill`."""
    named = [argument for argument in arguments if argument != "--check"]
    if any(not name.endswith(".md") for name in named):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    stale = [(path, before, after) for path, after in wanted(docs, named) if (before := _present(path)) != after]
    if "--check" not in arguments:
        for path, _, after in stale:
            path.parent.mkdir(exist_ok=True)
            path.write_text(after, encoding="utf-8")
            sys.stderr.write(f"wrote {path.relative_to(docs.parent)}\n")
        return 0
    for path, before, after in stale:
        _show(path.relative_to(docs.parent).as_posix(), before, after)
    return 1 if stale else 0


def _present(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


_DIFFERENCE_LINES = 20


def _show(name: str, before: str, after: str) -> None:
    sys.stdout.write(f"{name} is stale; run `make docs`\n")
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, "generated", n=0, lineterm="")
    sys.stdout.writelines(f"  {line}\n" for line in list(lines)[:_DIFFERENCE_LINES])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
