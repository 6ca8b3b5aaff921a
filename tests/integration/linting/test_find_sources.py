"""Files as they lie on disks: links, pipes, encodings, what may not be read, what lies elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from corral.errors import ProblemsError
from corral.linting.runner import lint
from corral.operations.lint_sources import find_sources
from doubles.installed import CORRAL

NOBODY = 65534
BAD = "topologyKey: nvidia.com/gpu\n"


def test_what_cannot_be_read_says_why_and_the_rest_is_judged(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BAD)
    (tmp_path / "binary.yaml").write_bytes(b"\x89PNG\x00\x01")
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: größe\n".encode("latin-1"))
    (tmp_path / "broken.yaml").symlink_to(tmp_path / "nowhere.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.yaml")
    report = lint(find_sources([tmp_path]))
    assert [finding.rule.id for finding in report.findings] == ["A01"]
    why = {Path(unread.place.file).name: unread.why for unread in report.unread}
    assert set(why) == {"binary.yaml", "latin.yaml", "broken.yaml", "loop.yaml", "pipe.yaml"}
    assert "zero byte" in why["binary.yaml"]
    assert "not UTF-8: byte 0xf6 in line 2" in why["latin.yaml"]


def test_a_closed_folder_is_reported_and_the_rest_is_linted() -> None:
    with TemporaryDirectory(dir="/tmp") as name:
        top = Path(name)
        (top / "a.yaml").write_text(BAD)
        (top / "a.yaml").chmod(0o644)  # whatever the umask is: a server that ran in this process before sets its own
        (top / "closed").mkdir()
        (top / "closed" / "b.yaml").write_text(BAD)
        top.chmod(0o755)
        (top / "closed").chmod(0)
        with as_nobody():
            report = lint(find_sources([top, top / "closed" / "b.yaml"]))
        (top / "closed").chmod(0o700)
    assert [Path(finding.place.file).name for finding in report.findings] == ["a.yaml"]
    assert {Path(unread.place.file).name: unread.why for unread in report.unread} == {
        "closed": "cannot be read: Permission denied",
        "b.yaml": "cannot be read: Permission denied",
    }


@contextmanager
def as_nobody() -> Generator[None]:
    """Without root's right to read everything, where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_names_that_no_file_can_have_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(f'resources: [{"a" * 5_000}, "a\\0b"]\n')
    assert len(find_sources([tmp_path])) == 1


def test_every_missing_path_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError) as caught:
        find_sources([tmp_path / "a.yaml", tmp_path, tmp_path / "b.yaml"])
    assert len(caught.value.problems) == 2


def test_an_overlay_brings_its_base(tmp_path: Path) -> None:
    for folder, text in (("base", "resources: [a.yaml]"), ("overlay", "resources: [../base]\ncomponents: [../more]")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "kustomization.yaml").write_text(text)
    (tmp_path / "base" / "a.yaml").write_text(BAD)
    (tmp_path / "base" / "not-listed.yaml").write_text(BAD)
    names = {Path(source.name).name for source in find_sources([tmp_path / "overlay"])}
    assert names == {"kustomization.yaml", "a.yaml"}


def test_one_kustomization_alone_brings_its_files(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    (tmp_path / "a.yaml").write_text("a: 1\n")
    assert lint(find_sources([tmp_path / "kustomization.yaml"])).findings == ()


def test_a_dash_reads_the_standard_input() -> None:
    done = subprocess.run([CORRAL, "lint", "-"], input=BAD, capture_output=True, text=True, check=False)
    assert "stdin:1:14: topologyKey" in done.stdout
    fixed = subprocess.run([CORRAL, "lint", "-", "--fix"], input=BAD, capture_output=True, text=True, check=False)
    assert "nothing can be fixed" in fixed.stderr


def test_a_compose_file_brings_its_variables_and_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services:\n"
        "  chat:\n"
        "    extends: {file: shared/base.yml, service: base}\n"
        "    image: 'vllm/vllm-openai:${TAG}'\n"
        "    env_file: [gpu.env]\n"
    )
    (tmp_path / ".env").write_text("# versions\nTAG=latest  # of the day\n")
    (tmp_path / "gpu.env").write_text('export CUDA_VISIBLE_DEVICES="1"\n')
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base.yml").write_text(
        "services: {base: {image: 'a:1', volumes: ['./cache:/root/.cache/huggingface'], gpus: [{count: 1}]}}\n"
    )
    report = lint(find_sources([tmp_path / "compose.yaml"]))
    assert {(finding.rule.id, finding.place.line) for finding in report.findings} == {("B11", 4), ("A10", 5)}
