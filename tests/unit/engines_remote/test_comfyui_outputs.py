"""Which outputs are kept, and what they are called here."""

from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.engines.comfyui.outputs import RemoteFile, choose, make_safe_name


def file(name: str, kind: str = "output", folder: str = "") -> dict[str, Any]:
    return {"filename": name, "subfolder": folder, "type": kind}


OUTPUTS: dict[str, Any] = {
    "12": {"images": [file("a.png")], "animated": [True]},
    "9": {"images": [file("a.png"), file("b.png")], "text": ["done"]},
    "10": {"images": [file("p.png", "temp")]},
    "11": {"gifs": [file("c.mp4", folder="night")], "weird": {"not": "a list"}},
}


def names(outputs: dict[str, Any], which: Any = "saved") -> list[str]:
    return [item.name for item in choose(outputs, which)]


def test_saved_files_of_every_list_are_kept_in_the_order_of_nodes() -> None:
    assert names(OUTPUTS) == ["a.png", "b.png", "text_9_1.txt", "c.mp4", "12-a.png"]


def test_previews_are_kept_where_they_are_asked_for_or_nothing_else_was_saved() -> None:
    assert names(OUTPUTS, "previews") == ["p.png"]
    assert "p.png" in names(OUTPUTS, "all")
    assert names({"10": OUTPUTS["10"]}) == ["p.png"]


def test_a_file_is_asked_for_by_the_name_the_instance_gave_it() -> None:
    (item,) = choose({"1": {"images": [file("../x y.png", folder="a/b")]}}, "saved")

    assert isinstance(item, RemoteFile)
    assert item.params == {"filename": "../x y.png", "subfolder": "a/b", "type": "output"}
    assert item.name == "x y.png"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\x.png", "x.png"),
        (".hidden", "hidden"),
        ("", "output"),
        ("a\x00b\n.png", "a_b_.png"),
    ],
)
def test_names_cannot_leave_the_folder(name: str, safe: str) -> None:
    assert make_safe_name(name) == safe


@given(st.text())
def test_any_name_becomes_one_plain_file_name(name: str) -> None:
    safe = make_safe_name(name)

    assert PurePath(safe).name == safe
    assert safe not in ("", ".", "..")
    assert len(safe) <= 120


@given(st.lists(st.sampled_from(["a.png", "A.png", "9-a.png", "b.png"]), max_size=8))
def test_names_are_unique_whatever_the_instance_calls_its_files(given_names: list[str]) -> None:
    outputs = {str(number % 3): {"images": [file(name)] * 2} for number, name in enumerate(given_names)}

    kept = [name.casefold() for name in names(outputs)]

    assert len(kept) == len(set(kept))
