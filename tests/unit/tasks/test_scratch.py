"""Folders of attempts are always empty, and are not made anew without need."""

from __future__ import annotations

from pathlib import Path

from corral.tasks.scratch import ScratchFolders, prepare


async def test_folder_that_stayed_empty_is_used_again(tmp_path: Path) -> None:
    folders = ScratchFolders(tmp_path)
    first = folders.take()
    prepare(first)
    await folders.give_back(first, returned=True)
    assert folders.take() == first


async def test_folder_with_something_left_in_it_is_removed(tmp_path: Path) -> None:
    folders = ScratchFolders(tmp_path)
    first = folders.take()
    prepare(first)
    (first / "left.txt").write_text("left")
    await folders.give_back(first, returned=True)
    assert not first.exists()
    assert folders.take() != first


async def test_folder_of_an_attempt_that_was_stopped_is_not_used_again(tmp_path: Path) -> None:
    folders = ScratchFolders(tmp_path)
    first = folders.take()
    prepare(first)
    await folders.give_back(first, returned=False)
    assert not first.exists()
    assert folders.take() != first


async def test_two_attempts_at_once_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = ScratchFolders(tmp_path)
    assert folders.take() != folders.take()
