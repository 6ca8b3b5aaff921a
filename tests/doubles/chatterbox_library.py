"""An environment with a double of Chatterbox's library: its worker is the real one, in a process of its own.

The double stands for `chatterbox.tts.ChatterboxTTS` of chatterbox-tts 0.1.7 and for the few words of PyTorch that are
used of it. Its names, arguments and their defaults, its attributes `sr` and `conds`, and that `generate` returns a
tensor of `(1, samples)`, were compared with the real library in the real environment, with weights of random numbers.
It speaks by heart: each call of `generate` returns the next of the WAV files in its folder of weights, the last one
again and again. What it was called with is in `calls.jsonl` there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from corral.engines.chatterbox.files import WEIGHTS

_TORCH = "def set_num_threads(count): pass\ndef manual_seed(seed): pass\n"
_TTS = """
import json, wave
import numpy as np

class Tensor:
    def __init__(self, numbers): self.numbers = numbers
    def squeeze(self, axis): return Tensor(self.numbers.squeeze(axis))
    def numpy(self): return self.numbers

class ChatterboxTTS:
    sr, conds = 24_000, None

    def __init__(self, folder, device):
        self.folder, self.lines = folder, sorted(folder.glob("*.wav"))
        self.note(loaded_on=device)

    @classmethod
    def from_local(cls, ckpt_dir, device): return cls(ckpt_dir, device)

    def prepare_conditionals(self, wav_fpath, exaggeration=0.5):
        with wave.open(wav_fpath) as audio:
            self.note(recording_s=round(audio.getnframes() / audio.getframerate(), 2), rate=audio.getframerate())
        self.conds = wav_fpath

    def generate(self, text, repetition_penalty=1.2, min_p=0.05, top_p=1.0, audio_prompt_path=None, exaggeration=0.5,
                 cfg_weight=0.5, temperature=0.8):
        assert self.conds is not None
        self.note(text=text)
        path = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        with wave.open(str(path)) as audio:
            samples = np.frombuffer(audio.readframes(audio.getnframes()), np.int16)
        return Tensor((samples / 32768).astype(np.float32)[None])

    def note(self, **facts):
        with (self.folder / "calls.jsonl").open("a") as calls:
            calls.write(json.dumps(facts) + "\\n")
"""


def write_library(data_dir: Path) -> None:
    """Write an environment that counts as installed below a data directory, with the double in it."""
    folder = data_dir / "engines" / "chatterbox" / "current"
    packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (packages / "chatterbox").mkdir(parents=True)
    (packages / "torch.py").write_text(_TORCH)
    (packages / "chatterbox" / "__init__.py").touch()
    (packages / "chatterbox" / "tts.py").write_text(_TTS)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    facts = {"engine": "chatterbox", "variant": "cuda", "digest": "0", "packages": 2}
    (folder / "environment.json").write_text(json.dumps({**facts, "installed_at": "2026-11-01T00:00:00+00:00"}))


def write_weights(folder: Path, *lines: bytes) -> Path:
    """Write a folder that has the names of all weights, and the lines that the double speaks, in order."""
    folder.mkdir()
    for name in WEIGHTS:
        (folder / name).write_bytes(b"none")
    for number, line in enumerate(lines):
        (folder / f"{number}.wav").write_bytes(line)
    return folder


def read_calls(folder: Path) -> list[dict[str, object]]:
    """Return what the double was called with."""
    return [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
