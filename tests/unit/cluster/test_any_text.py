"""Whatever stands in a file, only a ClusterFileError comes out, and its problems point at lines that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from corral.cluster import Cluster, ClusterFileError, load
from corral.cluster.parsing import read
from corral.cluster.schema import make_json_schema
from corral.cluster.writing import write_default_file
from corral.hardware.catalogue import find_gpu

SCHEMA = Draft202012Validator(make_json_schema())
EXAMPLES = Path(__file__).parents[3] / "examples"
TEXTS = [(EXAMPLES / name).read_text() for name in ("edge.yaml", "hydra/cluster.yaml", "harvis/cluster.yaml")]
WHERE = re.compile(r"file\.yaml:(\d+):(\d+)( .+)?", re.DOTALL)

MARKS = (
    "{ } [ ] , : - ? & * ! | > ' \" % @ ` # &a *a <<: !!set !x --- ... ~ null true yes 0x1F .inf .nan 1e999 1_000 0o7"
)
WORDS = (
    "name: nodes: gpus: labels: storage: layouts: queues: engines: pool: kind: services: model: memory: 16Gi 30d 5070"
)
SPACES = ["\n", "\n  ", "\n    - ", "\t", " ", "\r\n", "\x85", "\u2028", "\x00", "\ud800", "\ufeff", "é", "9" * 40]
TOKENS = st.sampled_from([*MARKS.split(" "), *WORDS.split(" "), *SPACES])
PLAIN = (
    "|~|true|-1|0|1.5|.nan|99999999999999999999|[]|{}|[[]]|{a: b}|'x y'|!t x|\"\"|http://u:p@h|1h 30 parsecs|2024-01-01"
)
SCALARS = st.sampled_from([*PLAIN.split("|"), "'" + "x" * 300 + "'", "9" * 400 + "Gi", "0.0000001Gi", "*nope", "'\\0'"])


def outcome(text: str) -> Cluster | None:
    """Load a text; None when it is refused as it should be."""
    try:
        cluster = load(text, filename="file.yaml", find_gpu=find_gpu)
        SCHEMA.validate(read(text, filename="file.yaml").value)  # what loads, an editor does not mark as wrong
        return cluster
    except ClusterFileError as error:
        problems = error.problems
    lines = len(re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text))
    for problem in problems:
        place = WHERE.fullmatch(problem.where or "")
        assert place, problem
        assert 1 <= int(place[1]) <= lines, problem
        assert int(place[2]) >= 1, problem
        assert problem.hint, problem
        assert "left-out-" not in str(problem), problem
    return None


@given(st.text())
@example("")
@example("\x00")
@example("[" * 5000)
@example("{a: " * 5000)
@example("a: " * 5000)
@example("- " * 5000)
@example("&a [*a]")
@example("&a {<<: *a}")
@example("&a {<<: [*a, *a]}")
@example("x: &a [1,2,3,4,5,6,7,8,9]\n" + "".join(f"y{n}: &a [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" for n in range(12)))
@example("%YAML 1.1\n---\na: yes")
@example("%TAG ! tag:x\n---\n!y z")
@example("a: !!int x\nb: !!float y\nc: !!bool z\nd: !!null w")
@example("a: 0x\nb: 0o9\nc: 1:30\nd: +-1\ne: !!int ''")
@example('"\\ud800": "\\x00"')
@example("nodes: [1]\nnodes: {}\n1: 2\n[a]: b\n{c: d}: e")
def test_any_text_is_loaded_or_refused_with_problems_at_lines_that_exist(text: str) -> None:
    outcome(text)


@given(st.lists(TOKENS, max_size=40).map("".join))
def test_any_yaml_like_text_is_loaded_or_refused_clearly(text: str) -> None:
    outcome(text)


@settings(max_examples=80)
@given(st.sampled_from(TEXTS), st.data())
def test_an_example_with_any_text_put_in_is_loaded_or_refused_clearly(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    outcome(text[:start] + data.draw(st.lists(TOKENS, max_size=4).map("".join)) + text[end:])


@settings(max_examples=80)
@given(st.sampled_from(TEXTS), st.data())
def test_an_example_with_other_values_is_loaded_or_refused_clearly(text: str, data: st.DataObject) -> None:
    values = [match.span(1) for match in re.finditer(r": +([^\s#,{}\[\]][^#,{}\[\]\n]*)", text)]
    for start, end in sorted(
        data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=4, unique=True)), reverse=True
    ):
        text = text[:start] + data.draw(SCALARS) + text[end:]
    outcome(text)


@settings(max_examples=60)
@given(st.sampled_from(TEXTS), st.data())
def test_an_example_without_some_lines_is_loaded_or_refused_clearly(text: str, data: st.DataObject) -> None:
    lines = text.splitlines(keepends=True)
    gone = data.draw(st.sets(st.integers(0, len(lines) - 1), max_size=5))
    outcome("".join(line for number, line in enumerate(lines) if number not in gone))


@given(st.text(), st.text())
@example("null", "true")
@example("1", "2024-01-01")
@example("", "ＦＵＬＬ")
@example("a\n- b", "0x1F")
def test_the_default_file_loads_on_any_machine(name: str, node_name: str) -> None:
    cluster = outcome(write_default_file(name, node_name))
    assert cluster is not None
    assert [node.gpus for node in cluster.nodes] == [None]


def test_a_file_of_absurd_size_is_refused() -> None:
    assert outcome("x" * 2_000_000) is None


@pytest.mark.parametrize("text", ["- a\n" * 50, "a: &a [1, 2, 3, 4]\nb: [*a, *a, *a, *a, *a]\n"])
def test_a_file_with_too_many_values_is_refused_before_they_are_all_read(text: str) -> None:
    assert [problem.code for _, problem in read(text, filename="file.yaml", most_values=20).problems] == [
        "cluster.too_large"
    ]
