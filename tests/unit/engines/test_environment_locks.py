"""The locked files of the engines' own environments agree with those that the tests run with."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from corral.engine_kinds import CHATTERBOX, ENGINES
from corral.engines.environments.installing import read_lock

REPOSITORY = Path(__file__).parents[3]
REQUIREMENTS = REPOSITORY / "requirements"
sys.path.insert(0, str(REQUIREMENTS))
lock_engines = import_module("lock_engines")

VARIANTS = [environment for kind in ENGINES.values() for environment in kind.environments]


def read_pins(text: str) -> dict[tuple[str, str], frozenset[str]]:
    """Read the hashes of each name and version."""
    pins: dict[tuple[str, str], frozenset[str]] = {}
    for block in re.split(r"\n(?=[a-z0-9])", text):
        if match := re.match(r"([a-z0-9._-]+)==(\S+)", block):
            pins[match[1], match[2]] = frozenset(re.findall(r"sha256:[0-9a-f]{64}", block))
    return pins


def test_every_environment_has_a_locked_file_and_none_is_left_over() -> None:
    assert {environment.lock for environment in VARIANTS} == {f"{name}.lock" for name in lock_engines.EXTRAS}
    assert {path.name for path in lock_engines.LOCKS.glob("*.lock")} == {environment.lock for environment in VARIANTS}


@pytest.mark.parametrize("lock", [environment.lock for environment in VARIANTS])
def test_what_is_installed_is_what_the_tests_run_with(lock: str) -> None:
    environment = next(environment for environment in VARIANTS if environment.lock == lock)
    tested = {
        **read_pins((REQUIREMENTS / "cuda.lock").read_text()),
        **read_pins((REQUIREMENTS / "dev.lock").read_text()),
    }
    pins = read_pins(read_lock(environment))

    assert pins
    assert all(hashes for hashes in pins.values()), "a package without a hash could be any"
    if lock.removesuffix(".lock") not in lock_engines.APART:
        assert {pin: hashes for pin, hashes in pins.items() if tested.get(pin) != hashes} == {}


def test_environment_that_wants_other_versions_has_those_that_its_kernels_are_known_of() -> None:
    (environment,) = CHATTERBOX.environments
    packages = read_pins(read_lock(environment)).keys()

    assert {("chatterbox-tts", "0.1.7"), ("torch", "2.6.0"), ("numpy", "1.26.4")} <= packages
    assert not {"gradio", "pre-commit", "spacy-pkuseg"} & {package for package, _ in packages}


@pytest.mark.parametrize("name", lock_engines.EXTRAS)
def test_what_the_extras_ask_for_is_in_the_file(name: str) -> None:
    asked = lock_engines.list_requirements(lock_engines.EXTRAS[name])
    names = {re.match(r"[A-Za-z0-9-]+", requirement)[0] for requirement in asked}  # type: ignore[index]  # a name first

    locked = {package for package, _ in read_pins((lock_engines.LOCKS / f"{name}.lock").read_text())}

    assert names - {"corral"} <= locked
