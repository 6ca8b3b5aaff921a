"""The index of the rules of `corral lint`, and the examples on their pages: those that the tests of a rule read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pieces import code, page, table

from corral.linting.rules import CHECKS, FAMILIES

EXAMPLES = Path(__file__).parents[2] / "tests" / "unit" / "linting" / "rules"
_MARK = re.compile(r"[ \t]*(?:#|<!--)\s*finds: [A-Z0-9, ]+(?:-->)?|[ \t]*\(finds: [A-Z0-9]+\)")
_FENCES = {".yaml": "yaml", ".nix": "nix", ".md": "markdown", ".sh": "bash"}
_HARDWARE = "cluster.yaml"


def regions() -> Mapping[str, Callable[[], str]]:
    """The examples of each rule's page, by the name of their region."""
    return {f"rule-{check.rule.id}": partial(_examples, check.rule.id) for check in CHECKS}


def index_page() -> str:
    """List the rules by family."""
    parts: list[str] = []
    for letter, title in FAMILIES.items():
        rows = [
            (f"[{rule.id}]({rule.id}.md)", rule.name, rule.severity.value, rule.summary)
            for rule in (check.rule for check in CHECKS)
            if rule.id.startswith(letter)
        ]
        if rows:
            parts += [f"## {letter}: {title}", table(("rule", "name", "severity", "what"), rows)]
    intro = (
        f"The {len(CHECKS)} rules of `corral lint`. `error`: it does not run, or data or traffic is lost; `warning`: "
        "it works by luck, or degrades; `note`: good to know."
    )
    return page("Rules", intro, *parts)


def _examples(rule: str) -> str:
    folder = EXAMPLES / rule
    return "\n\n".join(
        [
            f"Accept it with a comment: {code(f'# corral: ignore {rule} because ...')}.",
            "## Found",
            _example(folder, "bad"),
            "## Not found",
            _example(folder, "good"),
        ]
    )


def _example(folder: Path, kind: str) -> str:
    plainest = min(
        (path for path in folder.iterdir() if path.name.startswith(kind)), key=lambda path: (len(path.stem), path.name)
    )
    files = sorted(path for path in plainest.rglob("*") if path.is_file()) if plainest.is_dir() else [plainest]
    return "\n\n".join(_file(file, plainest) for file in files)


def _file(path: Path, root: Path) -> str:
    text = "\n".join(_MARK.sub("", line).rstrip() for line in path.read_text(encoding="utf-8").splitlines()).strip()
    fence = "````" if "```" in text else "```"
    block = f"{fence}{_FENCES.get(path.suffix, '')}\n{text}\n{fence}"
    if path == root:
        return block
    name = path.relative_to(root).as_posix()
    about = " (given with `--cluster`)" if name == _HARDWARE else ""
    return f"`{name}`{about}:\n\n{block}"
