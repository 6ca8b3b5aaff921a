"""A pattern for outputs leads to a folder for each task, below an allowed one; or it says what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.cluster import ClusterFileError, load
from corral.cluster.destinations import Destination, check_name, check_pattern, find_destination

FOLDERS = ("/mnt/nas", "/mnt/nas/night", "/srv/out")
CLUSTER = """\
apiVersion: corral/v1
name: out
nodes: [{{name: here}}]
outputFolders: [{{path: /mnt/nas, mounted: true}}]
queues: [{{name: default, outputs: "{outputs}"}}]
"""


def whats(text: str) -> list[str]:
    return [problem.what for problem in check_pattern(text, FOLDERS)]


def test_the_longest_allowed_folder_is_the_root() -> None:
    assert find_destination("/mnt/nas/{batch}/{task}", FOLDERS) == Destination(
        root="/mnt/nas", pattern="{batch}/{task}"
    )
    deep = find_destination("/mnt/nas/night/of-{batch}/{task}/images/", FOLDERS)
    assert deep == Destination(root="/mnt/nas/night", pattern="of-{batch}/{task}/images")
    assert deep.fill_in(batch="31", task="fox-1") == "of-31/fox-1/images"


def test_an_unknown_placeholder_is_named_with_those_that_there_are() -> None:
    (problem,) = check_pattern("/mnt/nas/{batch}/{task}/{tsk}", FOLDERS)
    assert problem.what == "there is no placeholder {tsk}; there are {batch} and {task}"
    assert problem.hint == "did you mean `task`?"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("/mnt/nas/{batch}", "{task} is missing"),
        ("/mnt/nas/{task}", "{batch} is missing"),
        ("/mnt/nas/{batch}/{task", "a brace is open or closed alone"),
        ("mnt/nas/{batch}/{task}", "is not an absolute path"),
        ("/mnt/nas/../{batch}/{task}", "is not an absolute path without `.` and `..`"),
        ("/mnt/nasty/{batch}/{task}", "is below no folder that the cluster file allows"),
        ("/{batch}/{task}", "is below no folder"),
        ("/mnt/{batch}/nas/{task}", "is below no folder"),
    ],
)
def test_every_wrong_pattern_says_what_is_wrong(text: str, what: str) -> None:
    assert any(what in problem for problem in whats(text))
    assert find_destination(text, FOLDERS) is None


def test_without_allowed_folders_nothing_can_be_written_anywhere() -> None:
    (problem,) = check_pattern("/mnt/nas/{batch}/{task}", ())
    assert "(`outputFolders`: none)" in problem.what
    assert problem.hint is not None
    assert "corral reload" in problem.hint


@given(st.text("ab/.{}task" + "\\", max_size=12))
def test_a_pattern_that_is_accepted_leads_below_its_root_for_every_plain_name(text: str) -> None:
    destination = find_destination(f"/mnt/nas/{{batch}}/{{task}}{text}", FOLDERS)
    if destination is not None:
        parts = destination.fill_in(batch="1", task="fox").split("/")
        assert ".." not in parts
        assert all(parts)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 256, "ü" * 128])
def test_a_name_that_is_no_files_name_is_refused(name: str) -> None:
    assert check_name(name) is not None


@pytest.mark.parametrize("name", ["fox-1", "Ünïcode", "..a", "a b", "x" * 255])
def test_a_name_that_is_a_files_name_is_accepted(name: str) -> None:
    assert check_name(name) is None


def test_a_cluster_file_allows_folders_and_gives_a_queue_one() -> None:
    cluster = load(CLUSTER.format(outputs="/mnt/nas/{batch}/{task}"), filename="c.yaml")
    assert [(folder.path, folder.mounted) for folder in cluster.output_folders] == [("/mnt/nas", True)]
    assert cluster.queues["default"].outputs == "/mnt/nas/{batch}/{task}"


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("{outputs}", "/srv/{batch}/{task}", "below no folder"),
        ("{outputs}", "/mnt/nas/{batch}/{tsk}", "no placeholder {tsk}"),
        ("path: /mnt/nas", "path: nas", "'nas' is not an absolute path"),
    ],
)
def test_a_cluster_file_with_a_wrong_folder_says_so_at_its_line(before: str, after: str, what: str) -> None:
    text = CLUSTER.replace(before, after).replace("{{", "{").replace("}}", "}")
    with pytest.raises(ClusterFileError) as caught:
        load(text.replace("{outputs}", "/mnt/nas/{batch}/{task}"), filename="c.yaml")
    assert any(what in problem.what for problem in caught.value.problems)
