"""Docstrings name what is there: names of the code exist, and "May import" is what a room imports."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import corral

SOURCE = Path(corral.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
LABELS = [path.relative_to(SOURCE).as_posix() for path in MODULES]
ROOMS = sorted(
    path
    for path in (*SOURCE.glob("*/__init__.py"), *SOURCE.glob("[a-z]*.py"))
    if "migrations" not in path.parts and path.stem != "__main__"
)

ELSEWHERE = {
    "ComfyUI": "SamplerCustom latent_image text_g text_l clip_l noise_seed sampler_name lora_name strength_model "
    "strength_clip batch_size string t5xxl",
    "llama.cpp": "llama_kv_cache llama_kv_cache_iswa ggml_gallocr load_tensors",
    "systemd": "PrivateDevices ProtectClock DeviceAllow MemoryDenyWriteExecute ProtectHome NoNewPrivileges",
    "Python": "preexec_fn",
    "Pydantic": "PydanticCustomError",
    "Linux": "lspci",
    "the cluster file": "gpuMemory",
    "LiteLLM": "_is_cooldown_required",
    "PostgreSQL": "pg_dump pg_restore",
}
"""Names of other programs that docstrings of modules give, by whose they are."""
NAMED_ELSEWHERE = {name for names in ELSEWHERE.values() for name in names.split()}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def read_docstring(path: Path) -> str:
    return ast.get_docstring(tree_of(path)) or ""


def list_defined(path: Path) -> Iterator[str]:
    """List what a module defines: itself, its functions, classes, parameters, variables and attributes."""
    yield path.parent.name if path.stem == "__init__" else path.stem
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass


@cache
def everything_defined() -> frozenset[str]:
    return frozenset(name for path in MODULES for name in list_defined(path))


def list_imported(path: Path) -> Iterator[str]:
    """List the rooms that a module imports from, its own as well."""
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.ImportFrom(module="corral", names=names):
                yield from (alias.name for alias in names if alias.name != "__version__")
            case ast.ImportFrom(module=str(module)) if module.startswith("corral."):
                yield module.split(".")[1]
            case ast.Import(names=names):
                yield from (alias.name.split(".")[1] for alias in names if alias.name.startswith("corral."))
            case _:
                pass


@pytest.mark.parametrize("path", MODULES, ids=LABELS)
def test_a_name_of_code_in_the_docstring_of_a_module_exists(path: Path) -> None:
    text = read_docstring(path)
    named = set(re.findall(r"`(_[a-z]\w*|[a-z]\w*_\w+|[A-Z][a-z]\w*)`", text))
    assert named - everything_defined() - NAMED_ELSEWHERE == set()


@pytest.mark.parametrize("path", MODULES, ids=LABELS)
def test_a_dotted_name_of_corral_in_the_docstring_of_a_module_exists(path: Path) -> None:
    dotted = re.findall(r"`corral((?:\.[A-Za-z_]\w*)+)`", read_docstring(path))
    assert [name for name in dotted if not exists(name.split(".")[1:])] == []


def exists(parts: list[str]) -> bool:
    """Return whether a module is at the path of these names, or a module that defines the last of them."""
    place = SOURCE.joinpath(*parts)
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    inside = SOURCE.joinpath(*parts[:-1])
    module = inside / "__init__.py" if inside.is_dir() else inside.with_suffix(".py")
    if len(parts) < 2 or not module.is_file():
        return False
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree_of(module))
        for alias in getattr(node, "names", ())
        if isinstance(alias, ast.alias)
    }
    return parts[-1] in {*list_defined(module), *imported}


@pytest.mark.parametrize("path", MODULES, ids=LABELS)
def test_what_a_docstring_points_to_in_brackets_is_here(path: Path) -> None:
    """As in "its inputs (`inputs`)": of a package, a module or a name in it; of a module, any name of the code."""
    inside = re.findall(r"\(((?:`[a-z]\w*`(?:, | and )?)+)\)", read_docstring(path))
    pointed = {name for part in inside for name in re.findall(r"`(\w+)`", part)}
    if path.stem == "__init__":
        known = {name for module in path.parent.rglob("*.py") for name in list_defined(module)}
    else:
        known = everything_defined() | set(dir(builtins)) | NAMED_ELSEWHERE
    assert pointed - known == set()


@pytest.mark.parametrize("path", ROOMS, ids=[path.relative_to(SOURCE).as_posix() for path in ROOMS])
def test_what_a_room_may_import_is_what_it_imports(path: Path) -> None:
    """A room that may import "everything but" some says which those are; any other lists what it imports."""
    room = path.parent if path.stem == "__init__" else path
    listed = read_docstring(path).partition("May import: ")[2]
    assert listed, "the docstring does not say what the room may import"
    named = set(re.findall(r"`corral\.(\w+)", listed))
    modules = room.rglob("*.py") if room.is_dir() else [room]
    imported = {name for module in modules for name in list_imported(module)} - {room.stem}
    if listed.startswith("everything"):
        assert imported & named == set()
    else:
        assert imported == named
