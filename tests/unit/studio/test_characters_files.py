"""Characters of files and folders: read whole, or refused with every problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.studio.characters.reading import CharactersFileError, CharactersFileMissingError, open_characters

EXAMPLE = Path(__file__).parents[3] / "examples" / "studio" / "characters.yaml"


def test_the_example_has_two_characters() -> None:
    elena, jordan = (character.shape for character in open_characters(EXAMPLE))
    assert (elena.name, elena.voice, elena.fields) == (
        "elena",
        "en_US-amy-medium",
        {"armour": "engraved silver plate"},
    )
    assert (jordan.name, jordan.lora, jordan.fields) == ("jordan", None, {})


def test_every_problem_of_a_file_is_reported_at_its_place(tmp_path: Path) -> None:
    file = tmp_path / "cast.yaml"
    file.write_text(
        "apiVersion: corral/v1\nkind: Characters\ncharacters:\n"
        "  - {name: a/b}\n"
        "  - {name: elena, lok: red hair}\n"
        "  - {name: nikki, fields: {look: red}}\n"
    )
    with pytest.raises(CharactersFileError) as refused:
        open_characters(file)
    wheres = [(problem.code, (problem.where or "").removeprefix(f"{file}:")) for problem in refused.value.problems]
    assert wheres == [
        ("characters.bad_value", "4:12 characters[0].name"),
        ("characters.unknown_key", "5:19 characters[1].lok"),
        ("characters.bad_value", "6:28 characters[2].fields.look"),
    ]


def test_missing_images_and_repeated_names_are_reported_together(tmp_path: Path) -> None:
    file = tmp_path / "cast.yaml"
    file.write_text(
        "apiVersion: corral/v1\nkind: Characters\ncharacters:\n"
        "  - {name: elena, images: [./front.png, ./side.png]}\n"
        "  - {name: elena}\n"
    )
    (tmp_path / "side.png").write_bytes(b"side")
    with pytest.raises(CharactersFileError) as refused:
        open_characters(file)
    assert [problem.code for problem in refused.value.problems] == ["characters.image", "characters.repeated"]
    assert "front.png" in refused.value.problems[0].what


def test_a_folder_has_a_character_in_each_of_its_folders(tmp_path: Path) -> None:
    for name in ("elena", "jordan", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "elena" / "b.png").write_bytes(b"b")
    (tmp_path / "elena" / "a.jpg").write_bytes(b"a")
    (tmp_path / "jordan" / "character.yaml").write_text("look: a tall man\nimages: [c.png]\n")
    (tmp_path / "jordan" / "c.png").write_bytes(b"c")
    (tmp_path / "jordan" / "d.png").write_bytes(b"d")
    (tmp_path / "notes" / "ideas.txt").write_text("none")

    read = open_characters(tmp_path)

    assert [(character.shape.name, [image.name for image in character.images]) for character in read] == [
        ("elena", ["a.jpg", "b.png"]),
        ("jordan", ["c.png"]),
    ]


def test_a_folder_without_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharactersFileMissingError):
        open_characters(tmp_path)
