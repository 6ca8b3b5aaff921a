"""Kokoro's voices and vocabularies, in each form in which they are published.

A voice is 510 styles of 256 numbers, the style for each length of a text. Several in a `.npz` (kokoro-onnx, also as
`voices-v1.0.bin`), one as `.npy`, or the bare numbers as `af_heart.bin` (onnx-community). The vocabulary is in
`vocab.json`, in Kokoro's own `config.json`, or in `tokenizer.json`. Nothing that could run code is read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corral.errors import did_you_mean
from corral.narrowing import as_object
from corral.work import TaskInvalidError

Style = npt.NDArray[np.float32]
"""A voice: `(lengths, 256)`."""

_STYLE_NUMBERS = 256
_PACKS = (".npz", ".npy", ".bin")
_VOCABULARIES = ("vocab.json", "config.json", "tokenizer.json")


def find_model_file(folder: Path) -> Path:
    """Return the network of a model: the folder's only `.onnx` file, or the file itself. Raises: TaskInvalidError."""
    files = [folder] if folder.is_file() else sorted(folder.glob("*.onnx"))
    if len(files) != 1:
        what = f"the model folder {folder.name!r} has {len(files)} '.onnx' files, and Kokoro is one"
        raise TaskInvalidError(
            what, hint="use `kokoro-82m-int8`, or a folder with one network, its voices and vocabulary"
        )
    return files[0]


def read_vocabulary(folder: Path) -> Mapping[str, int]:
    """Return the number of each sound. Raises: TaskInvalidError."""
    for name in _VOCABULARIES:
        try:
            content: object = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise TaskInvalidError(f"{name!r} of the model cannot be read: {error}") from error
        vocabulary = _find_vocabulary(content)
        if vocabulary:
            return vocabulary
    names = ", ".join(_VOCABULARIES)
    raise TaskInvalidError(f"the model folder {folder.name!r} has no vocabulary", hint=f"put one next to it: {names}")


def _find_vocabulary(content: object) -> Mapping[str, int]:
    document = as_object(content)
    vocabulary = as_object(as_object(document.get("model", document)).get("vocab"))
    return {sound: number for sound, number in vocabulary.items() if isinstance(number, int)}


def read_voices(folder: Path) -> dict[str, Style]:
    """Return the voices next to a model by name, in the order of their files. Raises: TaskInvalidError."""
    voices: dict[str, Style] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _PACKS:
            voices.update(read_pack(path))
    return voices


def list_voices(folder: Path) -> dict[str, str]:
    """Return the names of the voices next to a model, each as the input `voice` takes it; nothing is loaded."""
    names: list[str] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in _PACKS and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as pack:
                names += [member.removesuffix(".npy") for member in pack.namelist()]
        elif path.suffix in _PACKS:
            names.append(path.stem)
    return {name: name for name in names}


def read_pack(path: Path, name: str | None = None) -> dict[str, Style]:
    """Return the voices of one file; `name` is its name for people. Raises: TaskInvalidError."""
    name = name or path.name
    try:
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as pack:
                return {voice: _check(pack[voice], f"{voice} in {name}") for voice in pack.files}
        numbers = np.fromfile(path, np.float32) if name.endswith(".bin") else np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TaskInvalidError(f"{name!r} is not a voice of Kokoro: {error}") from error
    return {Path(name).stem: _check(numbers, name)}


def _check(numbers: npt.NDArray[Any], name: str) -> Style:  # Any: whatever is in the file
    if numbers.size == 0 or numbers.size % _STYLE_NUMBERS or numbers.dtype.kind != "f":
        what = f"{numbers.dtype} {numbers.shape}, not styles of {_STYLE_NUMBERS} numbers"
        raise TaskInvalidError(f"{name!r} is not a voice of Kokoro: {what}")
    style = numbers.reshape(-1, _STYLE_NUMBERS).astype(np.float32)
    if not np.isfinite(style).all():
        raise TaskInvalidError(f"{name!r} is not a voice of Kokoro: some of its numbers are not finite")
    return style


def choose_voice(voices: Mapping[str, Style], asked: str | None, model: str) -> tuple[str, Style]:
    """Return a voice and its name, the first where none is asked for. Raises: TaskInvalidError."""
    if not voices:
        raise TaskInvalidError(f"{model!r} has no voices", hint="put voices next to it, or hand one over as a file")
    name = next(iter(voices)) if asked is None else asked
    if name not in voices:
        raise TaskInvalidError(f"{model!r} has no voice {name!r}", hint=_list_near(name, voices))
    return name, voices[name]


def _list_near(name: str, voices: Iterable[str]) -> str | None:
    known = sorted(voices)
    return did_you_mean(name, known, otherwise=f"it has: {', '.join(known)}")
