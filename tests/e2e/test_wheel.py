"""What a wheel needs is in the wheel: it is built, installed outside the checkout, and does its first task there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from corral.cli.commands.lint import WARNINGS_FOUND
from corral.linting.registry import read_rules
from doubles.installed import REPOSITORY
from doubles.local_engines import real_models
from doubles.short_folders import lend_short_folder

UV = Path(sys.executable).parent / "uv"
CLUSTER = """\
apiVersion: corral/v1
name: edge
nodes:
  - name: local
engines:
  command: {enabled: true}
"""
BATCH = """\
apiVersion: corral/v1
kind: Batch
name: first
tasks:
  - name: greet
    engine: command
    inputs: {argv: [sh, -c, echo hello > greeting.txt], outputs: [greeting.txt]}
"""
SPEECH = """\
apiVersion: corral/v1
kind: Batch
name: say
tasks:
  - {name: hello, engine: piper, model: piper-en-us-joe, inputs: {text: Hello.}}
"""
MANIFEST = "topologyKey: nvidia.com/gpu\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _made(UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--out-dir", folder, REPOSITORY, folder=REPOSITORY)
    return next(folder.glob("corral-*.whl"))


@pytest.fixture(scope="module")
def home(wheel: Path) -> Iterator[Path]:
    """A folder outside the checkout with an environment `env` that holds the wheel and what is locked for it."""
    with lend_short_folder("corral-wheel") as folder:
        env = folder / "env"
        _made(UV, "venv", "--quiet", "--python", sys.executable, env, folder=folder)
        locked = ("--constraint", REPOSITORY / "requirements" / "run.lock")
        _made(UV, "pip", "install", "--quiet", "--python", env / "bin" / "python", *locked, wheel, folder=folder)
        _give_compiled_modules(env)
        yield folder


def _give_compiled_modules(env: Path) -> None:
    """Save each command the compiling of a thousand modules.

    Python takes a compiled module only where the source is that of which it was made, to the byte and second, so that
    these change nothing but the time: with one that is of another version it compiles as if it were not there.
    """
    here = Path(sysconfig.get_path("purelib"))
    there = env / here.relative_to(sys.prefix)
    for compiled in here.rglob(f"*.{sys.implementation.cache_tag}.pyc"):
        target = there / compiled.relative_to(here)
        if (target.parents[1] / f"{target.name.partition('.')[0]}.py").exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(compiled, target)


def _environment(home: Path) -> dict[str, str]:
    """What a user's shell has, and nothing that leads back to the checkout."""
    return {
        "PATH": f"{home / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "CORRAL_DATA_DIR": str(home / "data"),
        "NO_COLOR": "1",
    }


def _run(*command: object, folder: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=200)


def _made(*command: object, folder: Path, env: dict[str, str] | None = None) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = _run(*command, folder=folder, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def corral(home: Path, *arguments: object) -> str:
    return _made(home / "env" / "bin" / "corral", *arguments, folder=home, env=_environment(home))


def test_a_wheel_carries_the_page_of_every_rule(home: Path) -> None:
    where = _made(home / "env" / "bin" / "python", "-c", "import corral; print(corral.__file__)", folder=home)
    pages = Path(where.strip()).parent / "linting" / "pages"
    assert pages.is_relative_to(home)
    assert {page.stem for page in pages.glob("[A-Z]??.md")} == set(read_rules())


def test_an_installed_command_prints_its_version(home: Path) -> None:
    assert corral(home, "--version").startswith("corral 0.")


def test_an_installed_command_lints_and_explains_a_rule(home: Path) -> None:
    (home / "affinity.yaml").write_text(MANIFEST, encoding="utf-8")
    done = _run(home / "env" / "bin" / "corral", "lint", "affinity.yaml", "--json", folder=home, env=_environment(home))
    (finding,) = json.loads(done.stdout)["findings"]
    assert done.returncode == WARNINGS_FOUND
    assert (finding["rule"], finding["practice"]) == ("A01", read_rules()["A01"].practice)
    assert read_rules()["A02"].fix in corral(home, "lint", "--explain", "A02")


def test_an_installed_command_plans(home: Path) -> None:
    shutil.copytree(REPOSITORY / "examples" / "hydra", home / "hydra")
    assert json.loads(corral(home, "plan", "hydra/cluster.yaml", "--json"))


def test_an_installed_server_migrates_its_database_and_runs_a_first_task(home: Path) -> None:
    (home / "cluster.yaml").write_text(CLUSTER, encoding="utf-8")
    (home / "first.yaml").write_text(BATCH, encoding="utf-8")
    command = [str(home / "env" / "bin" / "corral"), "up", "--cluster", "cluster.yaml", "--port", "0"]
    with subprocess.Popen(command, cwd=home, env=_environment(home), stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            log = ""
            while "corral listens on" not in log:
                line = server.stderr.readline()
                assert line, f"it ended without a word of listening:\n{log}"
                log += line
            corral(home, "run", "first.yaml")
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)
    manifest = json.loads((home / "out" / "first" / "manifest.json").read_text(encoding="utf-8"))
    files = [output["file"] for task in manifest["tasks"] for output in task["outputs"]]
    (greeting,) = (file for file in files if "greet" in file and "log" not in file)
    assert (home / "out" / "first" / greeting).read_text(encoding="utf-8") == "hello\n"


def test_uv_installs_the_command_with_the_newest_libraries_and_its_json_stays_clean(wheel: Path) -> None:
    """Without a lock and with an empty cache, as a stranger does: a library's new version prints nothing of its own."""
    with lend_short_folder("corral-tool") as folder:
        places = {f"UV_{name}": str(folder / name.lower()) for name in ("CACHE_DIR", "TOOL_DIR", "TOOL_BIN_DIR")}
        environment = {**_environment(folder), **places, "UV_SYSTEM_CERTS": "1"}
        _made(UV, "tool", "install", "--quiet", "--python", sys.executable, wheel, folder=folder, env=environment)
        command = folder / "tool_bin_dir" / "corral"

        planned = _made(command, "plan", REPOSITORY / "examples" / "hydra" / "cluster.yaml", "--json", folder=folder)

        assert json.loads(planned)


def test_an_engine_is_installed_next_to_a_tool_without_its_extra_and_does_a_task(wheel: Path) -> None:
    """As a stranger does: `uv tool install corral`, an engine in an environment of its own, a model, a batch."""
    with lend_short_folder("corral-engine") as folder:
        places = {f"UV_{name}": str(folder / name.lower()) for name in ("TOOL_DIR", "TOOL_BIN_DIR")}
        here = {**_environment(folder), **places, "UV_SYSTEM_CERTS": "1"}
        here["PATH"] = f"{UV.parent}{os.pathsep}{here['PATH']}"
        locked = ("--constraints", REPOSITORY / "requirements" / "run.lock")
        _made(UV, "tool", "install", "--quiet", "--python", sys.executable, *locked, wheel, folder=folder, env=here)
        command = folder / "tool_bin_dir" / "corral"
        (folder / "say.yaml").write_text(SPEECH, encoding="utf-8")

        examined = json.loads(_run(command, "doctor", "--json", folder=folder, env=here).stdout)
        _made(command, "engines", "install", "piper", folder=folder, env=here)
        real_models()  # fetches them where that has not been done
        (folder / "data" / "models").symlink_to(REPOSITORY / ".cache" / "models")
        _made(command, "run", "say.yaml", folder=folder, env=here)

        fixes = {finding["name"]: finding["fix"] for finding in examined["items"]}
        assert fixes["engine piper"] == "corral engines install piper"
        assert [path.read_bytes()[:4] for path in (folder / "out" / "say").rglob("*.wav")] == [b"RIFF"]
