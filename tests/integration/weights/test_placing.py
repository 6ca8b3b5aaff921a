"""A file of the store is placed in another program's folder: whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from corral.weights.errors import ModelDamagedError, PlacingError
from corral.weights.placing import check_target, place_file
from corral.weights.store import Store
from corral.weights.values import Model

CONTENT = os.urandom(20 * 2**20)


@pytest.fixture
async def model(tmp_path: Path) -> Model:
    """A file of 20 MiB in a store, which links it."""
    (tmp_path / "paint.safetensors").write_bytes(CONTENT)
    return await Store(tmp_path / "store").pull(str(tmp_path / "paint.safetensors"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The models folder of a ComfyUI."""
    (tmp_path / "models" / "loras").mkdir(parents=True)
    return tmp_path / "models"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_a_placed_file_is_the_one_of_the_store_and_placing_it_again_writes_nothing(
    model: Model, folder: Path
) -> None:
    target, steps = check_target(folder, "loras/sdxl/paint.safetensors"), list[tuple[int, int]]()

    placed = await place_file(model, target, lambda done, total: steps.append((done, total)))

    assert (placed.path, placed.size, placed.written) == (target, len(CONTENT), True)
    assert placed.sha256 == hashlib.sha256(target.read_bytes()).hexdigest() == hashlib.sha256(CONTENT).hexdigest()
    assert [done for done, _ in steps] == [8 * 2**20, 16 * 2**20, 20 * 2**20]
    assert target.stat().st_mode & 0o777 == 0o644

    before = target.stat().st_mtime_ns
    again = await place_file(model, target, lambda _, __: None)

    assert (again.written, target.stat().st_mtime_ns) == (False, before)
    assert files(folder) == ["loras/sdxl/paint.safetensors"]


async def test_another_file_of_that_name_is_never_replaced(model: Model, folder: Path) -> None:
    target = folder / "loras" / "paint.safetensors"
    target.write_bytes(b"another painter's")

    with pytest.raises(PlacingError, match="another file has this name"):
        await place_file(model, target, lambda _, __: None)

    assert target.read_bytes() == b"another painter's"


async def test_a_file_that_changed_in_the_store_is_not_placed_and_leaves_nothing(model: Model, folder: Path) -> None:
    damaged = bytearray(CONTENT)
    damaged[-1] ^= 1
    (model.folder / model.files[0].name).write_bytes(damaged)

    with pytest.raises(ModelDamagedError, match="instead of"):
        await place_file(model, folder / "loras" / "paint.safetensors", lambda _, __: None)

    assert files(folder) == []


async def test_a_copy_that_is_cut_off_leaves_no_file_and_the_next_one_succeeds(model: Model, folder: Path) -> None:
    class CutOffError(Exception):
        pass

    def cut_off(_: int, __: int) -> None:
        raise CutOffError

    target = folder / "loras" / "paint.safetensors"
    with pytest.raises(CutOffError):
        await place_file(model, target, cut_off)
    assert files(folder) == []

    # What a killed server leaves has a name that no program loads, and goes after a day.
    stale, fresh = (folder / "loras" / f".corral-{name}.part" for name in ("stale", "fresh"))
    for part in (stale, fresh):
        part.write_bytes(b"half")
    os.utime(stale, (0, 0))

    assert (await place_file(model, target, lambda _, __: None)).written
    assert files(folder) == ["loras/.corral-fresh.part", "loras/paint.safetensors"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("paint.safetensors", "not a file below a models folder"),
        ("../loras/paint.safetensors", "not a file below a models folder"),
        ("loras/../../paint.safetensors", "not a file below a models folder"),
        ("/loras/paint.safetensors", "not a file below a models folder"),
        ("lora/paint.safetensors", "has no folder 'lora'"),
        ("loras/away/paint.safetensors", "a link leads out of the models folder"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(folder: Path, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "loras" / "away").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(PlacingError, match=said):
        check_target(folder, name)


async def test_a_model_of_several_files_is_not_placed(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "many").mkdir()
    for name in ("a.bin", "b.bin"):
        (tmp_path / "many" / name).write_bytes(b"x")
    model = await Store(tmp_path / "store").pull(str(tmp_path / "many"))

    with pytest.raises(PlacingError, match="has 2 files"):
        await place_file(model, folder / "loras" / "a.bin", lambda _, __: None)
