"""Images that do not fit their use: a tag for another maker's GPU, a health check with a tool that is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.container_images import ImageFacts, Maker, find_image, list_makers, split_reference
from corral.linting.compose.services import ComposeService
from corral.linting.corpus import Corpus
from corral.linting.programs import Program
from corral.linting.registry import Violation, checks
from corral.linting.tree import Tree


def _find_facts(program: Program) -> ImageFacts | None:
    return find_image(program.image) if program.image else None


@checks("B13")
def check_image_variants(corpus: Corpus) -> Iterator[Violation]:
    """Look for images with a tag for each kind of GPU whose tag is not for the GPU that they get."""
    for program in corpus.programs:
        facts = _find_facts(program)
        if facts is None or not facts.tags or program.is_init:
            continue
        tag = split_reference(program.image or "")[1]
        makers = list_makers(facts, tag, program.settings)
        for maker, reason in _list_given_gpus(corpus, program):
            if tag and maker not in makers and maker in facts.tags:
                example = facts.example_tags.get(maker)
                use = f" ({example})" if example else ""
                what = f"{program.title} gets {reason}, and the tag {tag!r} of its image does not use it{use}"
                yield Violation(place=program.place, what=what, subject=program.subject)


def _list_given_gpus(corpus: Corpus, program: Program) -> Iterator[tuple[Maker, str]]:
    """List the makers of the GPUs that a program gets, each with how it gets it."""
    if program.has_gpu:
        yield Maker.NVIDIA, "an NVIDIA GPU"
    if isinstance(program.subject, ComposeService) and program.subject.amd_files:
        yield Maker.AMD, "the device files of an AMD GPU"
    limits = program.tree["resources"]["limits"]
    if (limits["amd.com/gpu"].count or 0) > 0:
        yield Maker.AMD, "an AMD GPU"
    if any(name.startswith("gpu.intel.com/") for name in limits.keys):
        yield Maker.INTEL, "an Intel GPU"


_TOOL = re.compile(r"(?:^|[\s;&|(])(?P<tool>curl|wget|python3?|nc)\b")


@checks("B15")
def check_health_tools(corpus: Corpus) -> Iterator[Violation]:
    """Look for health checks and exec probes with a program that the image is known to lack."""
    for program in corpus.programs:
        facts = _find_facts(program)
        if facts is None or not facts.missing_tools or program.tree["build"]:
            continue
        for tree, script in _list_checks(program):
            tools = {match["tool"] for match in _TOOL.finditer(script)}
            if (
                tools
                and tools <= facts.missing_tools
                and not re.search(r"\b(?:ollama|bash)\b[^|]*\|\||/dev/tcp", script)
            ):
                instead = f": write [{', '.join(facts.health)}]" if facts.health else ""
                what = f"the image of {program.title} has no {' and no '.join(sorted(tools))}{instead}"
                yield Violation(place=tree.place, what=what, subject=program.subject)


def _list_checks(program: Program) -> Iterator[tuple[Tree, str]]:
    """List what asks for the health of a program, as the text of a command."""
    checks = [program.tree["healthcheck"]["test"]]
    checks += [program.tree[name]["exec"]["command"] for name in ("livenessProbe", "readinessProbe", "startupProbe")]
    for check in checks:
        if check:
            words = [entry.script or "" for entry in check.entries] or [check.script or ""]
            yield check, " ".join(words)
