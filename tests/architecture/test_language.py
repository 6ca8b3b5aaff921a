"""Names are nouns and verbs, and texts are plain English.

Variables are named after what they hold, functions after what they do. Texts (docstrings, comments, messages, pages)
use words of people for people only: a program reports, prints or returns; data is in a place, and does not stand or lie
there; what is not known is unknown, and not known to nobody. The failure of a test has what to write instead.

A word that is right where it is has its phrase in `EXCEPTIONS`, with the reason.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from architecture import house
from architecture.house import REPOSITORY, Module


class Word(NamedTuple):
    """A word that texts do without: its pattern, where a space is any white space, and what to write instead."""

    pattern: str
    instead: str


PLACES = "in|on|at|under|there|here|before|after|behind|above|below|around|outside|between|where"
DUTIES = "be|become|come|do|end|get|give|go|have|hold|keep|lose|make|reach|run|start|stop|take|use|write"
WORDS = {
    "tell": Word(r"\b(?:tell|tells|told)\b", "report, print, return, raise; 'distinguish' for 'tell apart'"),
    "person": Word(
        r"\b(?:nobody|somebody|someone|anybody|anyone|whoever|no one)\b",
        "a state (unknown, not set, unused, by hand) or the role: user, caller, service, another replica",
    ),
    "no-noun": Word(
        r"(?<!there\s)\b(?:is|are|was|were) no (?!\s|longer\b|more\b|less\b|\w+er\b|\w+er than\b)",
        "'is not text', 'is not a file'",
    ),
    "beside": Word(r"\bbesides?\b", "next to, in addition to, compared with, except"),
    "stand": Word(rf"\b(?:stand|stands|stood|standing) (?:{PLACES})\b", "is in, is listed in; replaces; comes before"),
    "lie": Word(rf"\b(?:lie|lies|lay|lying) (?:{PLACES})\b", "is in, is stored in, is outside"),
    "is-to": Word(rf"\b(?:is|are|was|were) (?:not )?to (?:{DUTIES})\b", "must, can, will, should"),
    "more": Word(r"\ba \w+ more\b(?! (?:than|or less)\b)", "'one more GPU'"),
    "overdue": Word(r"\boverdue\b", "late"),
    "seat": Word(r"\b(?:seat|seats|seated|seating)\b", "slot, place; 'is placed on'"),
    "mend": Word(r"\bmend(?:s|ed|ing)?\b", "fix, repair"),
    "may": Word(r"\bmay\b(?! import)(?! \d)", "can; 'must not' or 'cannot' for 'may not'; 'might' for a guess"),
    "card": Word(r"(?<!graphics[\s-])\bcards?\b", "GPU"),
    "what": Word(
        r"\A(?-i:What) (?:a|an|the|it|its|is|each|one|every|this|that|no|was|can|has|they|all|runs|other|some|two)\b",
        "begin with the noun: 'A node's power draw', not 'What a node draws'",
    ),
    "mistake": Word(r"\ba mistake (?:in|of) (?:Corral|the \w+)\b", "a bug in Corral"),
    "called": Word(r"\bnothing called \W", "'there is no target named ...'"),
    "better": Word(r"\bgets? better by\b", "improves"),
    "station": Word(r"\b(?:station|bay)s?\b", "slot"),
    "tie": Word(r"\bfirst by name\b", "the first in the order of names"),
}
ANY_WORD = re.compile(
    "|".join(
        f"(?P<{name.replace('-', '_')}>{word.pattern.replace(' ', chr(92) + 's+')})" for name, word in WORDS.items()
    ),
    re.IGNORECASE,
)

# Phrases that are right, by the file they are in (or the folder), each with its reason.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("docs/rules/", "image-too-old-for-card"): "a rule's name never changes: comments and reports have it",
    ("docs/rules/", "model-larger-than-card"): "a rule's name",
    ("docs/rules/", "power-limit-for-all-cards"): "a rule's name",
}


class Text(NamedTuple):
    """A docstring, a comment, a literal or a page."""

    line: int
    text: str


def read_docs() -> list[Path]:
    """List the pages that are written by hand; those of `docs/reference` are made of texts of the code."""
    pages = [path for path in (REPOSITORY / "docs").rglob("*.md") if "reference" not in path.parts]
    return sorted([*pages, *REPOSITORY.glob("*.md")])


def extract_texts(module: Module) -> Iterator[Text]:
    """Find docstrings, literals of several words, and comments that have a listed word."""
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield Text(node.lineno, node.value)
    lines = module.text.splitlines()
    if any(ANY_WORD.search(line.partition("#")[2]) for line in lines if "#" in line):
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
            if token.type == tokenize.COMMENT:
                yield Text(token.start[0], token.string.lstrip("#: "))


def strip_code(page: str) -> str:
    """Blank out code and generated parts of Markdown, so that lines keep their numbers."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]+", "¤", match.group())

    generated = r"<!-- generated: .*?<!-- end -->"  # texts of the code
    prose = re.sub(rf"^ *(`{{3,}}).*?^ *\1 *$|{generated}", blank, page, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+)[^`]+\1", blank, prose)


def find_words(place: str, text: Text) -> Iterator[str]:
    """Report each listed word of a text, unless it is in a phrase of `EXCEPTIONS`."""
    for match in ANY_WORD.finditer(text.text):
        if not find_exception(place, text.text, match):
            name = str(match.lastgroup).replace("_", "-")
            line = text.line + text.text.count("\n", 0, match.start())
            yield f"{place}:{line}: '{' '.join(match.group().split())}' ({name}); write {WORDS[name].instead}"


def find_exception(place: str, text: str, match: re.Match[str]) -> tuple[str, str] | None:
    """Return the exception whose phrase has the word."""
    for file, phrase in EXCEPTIONS:
        if place.startswith(file) and match.group() in phrase:
            for occurrence in re.finditer(r"\s+".join(map(re.escape, phrase.split())), text):
                if occurrence.start() <= match.start() and match.end() <= occurrence.end():
                    return file, phrase
    return None


@cache
def read_texts() -> tuple[tuple[str, Text], ...]:
    """Read all texts, each with its file; single words of code in backticks are none."""
    sources = [*house.read_modules(), *house.read_modules(REPOSITORY / "docs" / "generate")]
    texts = [(module.place, text) for module in sources for text in extract_texts(module)]
    pages = [(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")) for path in read_docs()]
    return (
        *((place, Text(text.line, strip_code(text.text))) for place, text in texts),
        *((place, Text(1, strip_code(page))) for place, page in pages),
    )


def test_texts_use_the_words_of_the_house() -> None:
    problems = [problem for place, text in read_texts() for problem in find_words(place, text)]
    assert not problems, "\n" + "\n".join(problems)


def test_every_exception_is_used() -> None:
    used = {
        find_exception(place, text.text, match)
        for place, text in read_texts()
        for match in ANY_WORD.finditer(text.text)
    }
    assert set(EXCEPTIONS) - used == set()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("It tells why.", "tell"),
        ("unless somebody\nuses it", "person"),
        ("The file is no text.", "no-noun"),
        ("Where each comes from stands in Part 1.", "stand"),
        ("outputs lie\n    in a folder", "lie"),
        ("the file is to be judged", "is-to"),
        ("a GPU more", "more"),
        ("What a node draws.", "what"),
        ("nothing called 'foo' is written", "called"),
    ],
)
def test_a_listed_word_is_reported_with_its_line_and_what_to_write(text: str, word: str) -> None:
    (problem,) = find_words("src/corral/x.py", Text(7, text))
    assert problem.startswith(("src/corral/x.py:7: ", "src/corral/x.py:8: "))
    assert problem.endswith(f"({word}); write {WORDS[word].instead}")


@pytest.mark.parametrize(
    "text",
    ["there is no text", "it is no longer used", "a graphics card", "understand in time", "one GPU more than two"],
)
def test_words_that_only_look_alike_are_not_reported(text: str) -> None:
    assert list(find_words("src/corral/x.py", Text(1, text))) == []


def test_code_in_markdown_is_not_a_text() -> None:
    page = "one `tell` two\n```text\ntells\n```\nnobody\n"
    assert [problem.split(";")[0] for problem in find_words("docs/x.md", Text(1, strip_code(page)))] == [
        "docs/x.md:5: 'nobody' (person)"
    ]


def test_variables_are_nouns() -> None:
    problems = [
        f"{module.place}:{line}: '{name}' names nothing; name it after the thing: service, node, finding"
        for folder in house.CODE
        for module in house.read_modules(folder)
        for line, name in house.find_pronouns(module)
    ]
    assert not problems, "\n" + "\n".join(problems)


def test_functions_start_with_a_verb() -> None:
    modules = house.read_modules()
    low = {
        package
        for package, count in house.count_packages(modules).items()
        if count.verb_share < house.VERB_SHARE and package != "all"
    }
    nouns = house.list_exceptions([module for module in modules if module.package in low])
    assert not low, f"\nbelow {house.VERB_SHARE:.0%} (verbs are listed in verbs.txt):\n" + "\n".join(nouns)


def test_no_file_is_longer_than_a_reader_can_follow() -> None:
    long = {module.place: module.lines for module in house.read_modules() if module.lines > house.LINES_OF_A_FILE}
    assert long == {}


def test_the_table_of_the_house_has_a_row_for_each_package_and_the_aims(tmp_path: Path) -> None:
    module = Module(house.SOURCES / "charts" / "x.py", '"""Doc."""\n\nimport os\n\n\ndef one(it):\n    told = it\n')
    counts = house.count_packages([module])
    assert counts["charts"] == counts["all"] == house.Count(1, 7, 2, 7, 3, 1, 0)
    assert [row.split() for row in house.format_table(counts).splitlines()][1:] == [
        ["charts", "1", "7", "28.6%", "7", "3", "1", "0%"],
        ["all", "1", "7", "28.6%", "7", "3", "1", "0%"],
        ["aim", "11%", "500", "0", "80%"],
    ]
