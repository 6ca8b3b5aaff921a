"""An edit of a cluster file changes what it is about, and not one byte more."""

from __future__ import annotations

import copy
import difflib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from corral.cluster import load
from corral.cluster.document import ClusterFileError
from corral.cluster.editing import spelling
from corral.cluster.editing.editor import Editor, UneditableError
from corral.cluster.parsing import read

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = ("edge.yaml", "hydra/before.yaml", "hydra/cluster.yaml", "harvis/cluster.yaml")
ODD = """\
# every way to write a thing
apiVersion: 'corral/v1'   # quoted
"name" : "odd"

nodes:
- name: first # no indentation
  gpus: [ {model: RTX 5090 , index: 0},   # spaces
          {model: "RTX 4090", index: 1,}, ] # a comma more
  labels: {}
  roles:
    # above
    - one # beside
    - two

    - three
    # below
-   os: >-
      folded
      text
    name: second
    memory:    64Gi
    gpus: # none yet
    # for later
    cpu: { }
services: []
layouts:
"""
TEXTS = [*((EXAMPLES / name).read_text() for name in NAMES), ODD]
VARIANTS = [*TEXTS, *(text.replace("\n", "\r\n") for text in TEXTS[1:2]), "\ufeff" + ODD, ODD.rstrip("\n")]
WORDS = st.sampled_from(
    [
        "RTX 5070 Ti",
        "5070ti",
        "true",
        "null",
        "12",
        "1e5",
        "0x1F",
        "a: b",
        "# no",
        "x, y",
        "[",
        "é",
        "",
        " ",
        "\n",
        "'",
        '"',
    ]
)
SCALARS = st.one_of(WORDS, st.text(max_size=8), st.integers(-5, 5000), st.booleans())
ITEMS = st.one_of(SCALARS, st.dictionaries(st.sampled_from(["model", "index", "a/b"]), SCALARS, min_size=1, max_size=3))


def paths(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """List the paths of everything inside a value."""
    steps: list[Any] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    return [path for step in steps for path in ((*at, step), *paths(value[step], (*at, step)))]


def inside(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def values_of(text: str) -> Any:
    document = read(text, filename="file.yaml")
    assert not document.problems, document.problems
    return document.value


def differing(old: str, new: str) -> tuple[list[str], list[str]]:
    """Lines that went, and lines that came, line ends included."""
    before, after = re.split(r"(?<=\n)", old), re.split(r"(?<=\n)", new)
    changes = [
        change
        for change in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if change[0] != "equal"
    ]
    gone = [line for _, start, end, _, _ in changes for line in before[start:end]]
    return gone, [line for _, _, _, start, end in changes for line in after[start:end]]


def choose(data: st.DataObject, kind: type) -> tuple[str, Any, tuple[str | int, ...]]:
    """Draw a text and the path of something of a kind in it."""
    text = data.draw(st.sampled_from(VARIANTS))
    before = values_of(text)
    candidates = [path for path in paths(before) if isinstance(inside(before, path), kind)]
    return text, before, data.draw(st.sampled_from(candidates))


@settings(max_examples=25)
@given(st.data())
def test_another_value_changes_one_line_and_nothing_else(data: st.DataObject) -> None:
    text, before, path = choose(data, str)
    assume(not str(inside(before, path)).startswith("folded"))  # of several lines
    value = data.draw(SCALARS)

    editor = Editor(text, filename="file.yaml")
    editor.assign(path, value)
    new = editor.finish()

    expected = copy.deepcopy(before)
    inside(expected, path[:-1])[path[-1]] = value
    assert values_of(new) == expected
    gone, come = differing(text, new)
    assert (len(gone), len(come)) in ((0, 0), (1, 1))
    assert [line.rpartition(" #")[2] for line in gone if " #" in line] == [
        line.rpartition(" #")[2] for line in come if " #" in line
    ] or "#" in str(value)


@settings(max_examples=25)
@given(st.data())
def test_what_is_removed_takes_only_its_own_lines_with_it(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(VARIANTS))
    before = values_of(text)
    path = data.draw(st.sampled_from([path for path in paths(before) if len(path) > 1]))

    editor = Editor(text, filename="file.yaml")
    editor.remove(path)
    new = editor.finish()

    expected = copy.deepcopy(before)
    del inside(expected, path[:-1])[path[-1]]
    assert values_of(new) == expected
    gone, come = differing(text, new)
    assert len(come) <= 2
    kept = {line.partition("#")[2].strip() for line in re.split("\r?\n", new) if "#" in line}
    for line in re.split("\r?\n", text):  # a comment on a line of its own goes only with what it stands in
        if line.lstrip().startswith("#") and line not in [removed.rstrip("\r\n") for removed in gone]:
            assert line.partition("#")[2].strip() in kept


@settings(max_examples=25)
@given(st.data())
def test_an_item_that_is_added_leaves_every_other_line_as_it_is(data: st.DataObject) -> None:
    text, before, path = choose(data, list)
    value = data.draw(ITEMS)

    editor = Editor(text, filename="file.yaml")
    editor.append(path, value)
    new = editor.finish()

    expected = copy.deepcopy(before)
    inside(expected, path).append(value)
    assert values_of(new) == expected
    gone, _ = differing(text, new)
    assert len(gone) <= 1


@settings(max_examples=25)
@given(st.data(), st.sampled_from(["new", "hydra.io/x", "12", "no", "a b"]), ITEMS)
def test_a_key_that_is_added_leaves_every_other_line_as_it_is(data: st.DataObject, key: str, value: Any) -> None:
    text, before, path = choose(data, dict)

    editor = Editor(text, filename="file.yaml")
    editor.assign((*path, key), value)
    new = editor.finish()

    expected = copy.deepcopy(before)
    inside(expected, path)[key] = value
    assert values_of(new) == expected
    gone, _ = differing(text, new)
    assert len(gone) <= 1


@settings(max_examples=25)
@given(st.data())
def test_many_edits_after_each_other_are_each_what_was_asked(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(VARIANTS))
    expected = values_of(text)
    editor = Editor(text, filename="file.yaml")

    for _ in range(data.draw(st.integers(1, 6))):
        candidates = [path for path in paths(expected) if len(path) > 1]
        assume(candidates)
        path = data.draw(st.sampled_from(candidates))
        there = inside(expected, path)
        if isinstance(there, list):
            value = data.draw(ITEMS)
            editor.append(path, value)
            there.append(value)
        elif data.draw(st.booleans()):
            editor.remove(path)
            del inside(expected, path[:-1])[path[-1]]
        elif not isinstance(there, dict):
            value = data.draw(SCALARS)
            editor.assign(path, value)
            inside(expected, path[:-1])[path[-1]] = value

    assert values_of(editor.finish()) == expected


@pytest.mark.parametrize("text", VARIANTS)
def test_without_an_edit_the_text_is_the_same(text: str) -> None:
    assert Editor(text, filename="file.yaml").finish() == text


@given(SCALARS)
def test_a_scalar_is_read_as_it_was_meant_wherever_it_stands(value: Any) -> None:
    assert values_of(f"a: {spelling.write_scalar(value)}\nb: [{spelling.write_scalar(value)}]\n") == {
        "a": value,
        "b": [value],
    }


def test_a_key_that_is_renamed_keeps_its_line_and_its_comment() -> None:
    editor = Editor("a:\n  x/old : 1 # why\n  b: 2\n", filename="file.yaml")

    editor.rename(("a", "x/old"), "new")

    assert editor.finish() == "a:\n  new : 1 # why\n  b: 2\n"


def test_comments_that_are_indented_under_an_item_stay_with_it() -> None:
    editor = Editor("nodes:\n  - name: a\n    # of a\n  # of the list\nrest: 1\n", filename="file.yaml")

    editor.append(("nodes",), {"name": "b"})

    assert editor.finish() == "nodes:\n  - name: a\n    # of a\n  - name: b\n  # of the list\nrest: 1\n"


def test_a_comment_below_the_first_key_of_an_item_stays_when_that_key_goes() -> None:
    editor = Editor("nodes:\n  - name: a\n    # of b\n    b: 1\n", filename="file.yaml")

    editor.remove(("nodes", 0, "name"))

    assert "# of b\n    b: 1\n" in editor.finish()


@pytest.mark.parametrize(
    "text",
    [
        "base: &base {model: RTX 5090}\nnodes: [*base]\n",
        "base: &base {model: RTX 5090}\nnodes:\n  - <<: *base\n",
        "nodes:\n  - ? model\n    : RTX 5090\n",
    ],
    ids=["alias", "merge", "explicit key"],
)
def test_what_stands_elsewhere_is_not_edited_by_mistake(text: str) -> None:
    editor = Editor(text, filename="file.yaml")

    with pytest.raises(UneditableError) as caught:
        editor.remove(("nodes", 0, "model"))

    assert caught.value.where
    assert caught.value.where.startswith("file.yaml nodes")


def test_an_edit_of_an_anchor_that_is_used_elsewhere_is_refused_at_the_end() -> None:
    editor = Editor("a: &a {model: RTX 5090}\nb: *a\n", filename="file.yaml")

    editor.assign(("a", "model"), "RTX 4090")

    with pytest.raises(UneditableError, match="other parts of the file"):
        editor.finish()


@pytest.mark.parametrize("text", ["- 1\n", "", "a: [\n"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ClusterFileError):
        Editor(text, filename="file.yaml")


def test_a_queue_a_service_and_a_placement_become_what_the_upgraded_cluster_has() -> None:
    editor = Editor((EXAMPLES / "hydra/before.yaml").read_text(), filename="before.yaml")
    names = {section: [entry["name"] for entry in editor.get((section,))] for section in ("services", "queues")}
    service = ("services", names["services"].index("comfyui"))
    queue = ("queues", names["queues"].index("5070ti-queue"))
    placements = ("layouts", "pool", "services")

    editor.assign((*service, "replicas"), 2)
    editor.assign((*queue, "pool"), ["hydra-compute/gpu0", "hydra-compute/gpu1"])
    editor.assign((*queue, "order"), "fifo")
    editor.assign((*placements, "comfyui", "gpus"), [0, 1])
    editor.assign((*placements, "comfyui", "replicas"), 2)
    editor.remove((*placements, "gpt-sovits", "gpus"))
    text = editor.finish()

    cluster = load(text, filename="after.yaml")
    assert cluster.services["comfyui"].replicas == 2
    assert cluster.queues["5070ti-queue"].pool == ("hydra-compute/gpu0", "hydra-compute/gpu1")
    assert (
        "  - name: 5070ti-queue # images, LoRA training\n    pool: [hydra-compute/gpu0, hydra-compute/gpu1]\n" in text
    )
    assert "      comfyui: {node: hydra-compute, gpus: [0, 1], replicas: 2}\n" in text
    assert "      gpt-sovits: {node: hydra-compute}\n" in text
