"""`corral upgrade` on the example clusters and on a large one: its outputs, and what it refuses."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from doubles.clusters import forty_mixed_nodes
from doubles.upgrades import EXAMPLES

HYDRA = (
    "upgrade",
    str(EXAMPLES / "hydra" / "before.yaml"),
    "--replace",
    "hydra-compute/gpu1=RTX 5070 Ti",
    "--limit",
    "hydra-compute=250",
)
INVALID, MISSING, CONFLICT = 2, 3, 4
VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})


class Page(HTMLParser):
    """Reads a page as a browser does, and notes what a self-contained page must not have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.outside: list[str] = []
        self.counts: dict[str, int] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value or "")
            if name == "href" and (value or "").startswith("#"):
                self.links.add((value or "")[1:])
            if name in ("src", "srcset", "data") or (name == "href" and tag == "link") or name.startswith("on"):
                self.outside.append(f"{tag} {name}={value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without its beginning"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run_command([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def problems(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return json.loads(capsys.readouterr().err)["error"]["problems"]


def test_the_answer_is_one_page_that_begins_with_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(HYDRA) == 0

    title, verdict, *_ = out = capsys.readouterr().out.splitlines()
    assert title.startswith("Upgrade of hydra: hydra-compute/gpu1: RTX 3060 12 GB (12 GiB) → RTX 5070 Ti (16 GiB")
    assert verdict.startswith("go: VRAM +4 GiB on hydra-compute")
    assert ["Hours", "for", "960", "images", "8.0", "h", "4.0", "h", "-4.0", "h"] in [line.split() for line in out]
    assert "what to do first" in out
    assert not any(line.startswith("#") for line in out)


def test_the_whole_report_is_markdown_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*HYDRA, "-v"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("# Upgrade of hydra: hydra-compute/gpu1: RTX 3060 12 GB (12 GiB) → RTX 5070 Ti (16 GiB")
    assert [line for line in out.splitlines() if line.startswith("## ")] == [
        "## Answer",
        "## Before and after",
        "## Part 1: Power and heat",
        "## Part 2: What becomes simpler",
        "## Part 3: What becomes possible",
        "## Part 4: What has to change around the GPUs",
        "## Part 5: Records and databases",
        "## Part 6: Throughput of the pipeline",
        "## Part 7: What does not change",
        "## Part 8: Migration checklist",
        "## Common beliefs that are wrong here",
        "## Conclusion",
    ]


def test_a_folder_gets_all_four_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*HYDRA, "--out", str(tmp_path / "new")]) == 0

    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "upgrade.md",
        "upgrade.html",
        "upgrade.json",
        "cluster.yaml",
    }
    assert capsys.readouterr().out.startswith("go: VRAM +4 GiB")
    text = (tmp_path / "new" / "cluster.yaml").read_text()
    assert "# left open: address, processor, memory" in text
    nodes = {node.name: node for node in load(text, filename="cluster.yaml", find_gpu=find_gpu).nodes}
    assert [gpu.model for gpu in nodes["hydra-compute"].gpus or ()] == ["RTX 5070 Ti"] * 2


def test_the_page_stands_alone(tmp_path: Path) -> None:
    assert run_command([*HYDRA, "--html", str(tmp_path / "page.html")]) == 0

    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.outside == []
    assert "script" not in page.counts
    assert "@import" not in text
    assert "url(" not in text
    assert page.links
    assert page.links <= page.anchors
    assert "Part 8: Migration checklist" in page.headings
    assert page.counts["svg"] == 5, "VRAM, power, nights, and the first minutes before and after"
    assert page.counts["table"] >= 10
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_a_name_that_looks_like_markup_stays_text(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "apiVersion: corral/v1\nname: odd\nnodes: [{name: box, gpus: [{model: RTX 4090}]}] # <script>1</script>\n"
        "services: [{name: one, node: box, gpus: 1}] # ```\n# </code></pre><script>2</script>\n"
    )

    assert run_command(["upgrade", str(file), "--add", "box=RTX 4090", "--html", str(tmp_path / "page.html")]) == 0

    page = Page((tmp_path / "page.html").read_text())
    assert "script" not in page.counts


def test_json_has_the_figures_with_their_origin(capsys: pytest.CaptureFixture[str]) -> None:
    record = as_json(capsys, *HYDRA)

    assert record["recommendation"]["advice"] == "go"
    assert record["hardware"]["memory"]["change"] == 4 * 2**30
    tgp = record["power"][0]["figures"][0]
    assert (tgp["before"]["value"], tgp["after"]["value"]) == (470, 600)
    assert tgp["after"] == {"value": 600, "unit": "W", "origin": "computed", "source": "2 x 300 W"}


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("hydra/before.yaml", ("--replace", "hydra-compute/gpu1=RTX 5070 Ti")),
        ("hydra/cluster.yaml", ("--add", "hydra-ai=RTX 5090")),
        ("harvis/cluster.yaml", ("--add", "pop-os=RTX 4090")),
        ("harvis/cluster.yaml", ("--add-node", "third=RTX 5090,RTX 5090")),
        ("harvis/cluster.yaml", ("--move", "pop-os-343570d8/gpu0=pop-os")),
        ("harvis/cluster.yaml", ("--psu", "pop-os=1000", "--memory", "pop-os=64Gi")),
    ],
)
def test_every_example_can_be_upgraded(
    file: str, changes: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ("--markdown", str(tmp_path / "a.md"), "--html", str(tmp_path / "a.html"))

    record = as_json(capsys, "upgrade", str(EXAMPLES / file), *changes, *outputs)

    assert record["recommendation"]["advice"] in ("go", "go with conditions", "don't")
    assert Page((tmp_path / "a.html").read_text()).open == []


def test_forty_mixed_nodes_with_several_changes_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "forty.yaml"
    file.write_text(forty_mixed_nodes())
    changes = tmp_path / "changes.yaml"
    changes.write_text(
        "- replace: {node-03/gpu1: RTX 5070 Ti}\n- add: {node-05: RTX 4090}\n- remove: node-09/gpu0\n"
        "- move: {node-04/gpu0: node-10}\n- add-node: {name: node-40, gpus: [RTX 5090, RTX 5090], psu: 2000}\n"
    )

    record = as_json(
        capsys, "upgrade", str(file), "--changes", str(changes), "--limit", "node-40=450", "--html", str(tmp_path / "p")
    )

    changed = {node["name"] for node in record["hardware"]["nodes"] if node["changes"]}
    assert changed == {"node-03", "node-04", "node-05", "node-09", "node-10", "node-40"}
    assert Page((tmp_path / "p").read_text()).open == []


def test_rendered_files_are_compared_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    diffs = as_json(capsys, *HYDRA, "--files")["file_diffs"]

    (labels,) = (diff for path, diff in diffs.items() if path.endswith("nodes/hydra-compute.yaml"))
    lines = labels.replace("'", '"').splitlines()
    assert '-    hydra.io/vram-total: "28"' in lines
    assert '+    hydra.io/vram-total: "32"' in lines
    assert not any(path.endswith("nodes/hydra-ai.yaml") for path in diffs)


def test_two_files_written_by_hand_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    hydra = EXAMPLES / "hydra"

    record = as_json(capsys, "upgrade", str(hydra / "before.yaml"), "--to", str(hydra / "cluster.yaml"))

    assert record["hardware"]["memory"]["change"] == 4 * 2**30
    assert {queue["name"] for queue in record["queues"]} == {"5070ti-queue", "3060-queue", "hydra-compute-pool"}


def test_the_file_that_the_upgrade_is_about_is_never_touched(tmp_path: Path) -> None:
    before = (EXAMPLES / "hydra" / "before.yaml").read_bytes()

    assert run_command([*HYDRA, "--adapt", "--write-cluster", str(tmp_path / "new.yaml")]) == 0

    assert (EXAMPLES / "hydra" / "before.yaml").read_bytes() == before
    assert "hydra-compute-pool" in (tmp_path / "new.yaml").read_text()


def test_every_file_that_is_there_already_is_told_and_none_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.md").write_text("mine")
    (tmp_path / "a.yaml").write_text("mine")
    outputs = ("--markdown", str(tmp_path / "a.md"), "--write-cluster", str(tmp_path / "a.yaml"))
    outputs += ("--html", str(tmp_path / "a.html"))

    assert run_command([*HYDRA, *outputs, "--json"]) == CONFLICT

    assert {problem["where"] for problem in problems(capsys)} == {str(tmp_path / "a.md"), str(tmp_path / "a.yaml")}
    assert (tmp_path / "a.yaml").read_text() == "mine"
    assert not (tmp_path / "a.html").exists()
    assert run_command([*HYDRA, *outputs, "--yes"]) == 0
    assert (tmp_path / "a.yaml").read_text() != "mine"


def test_all_wrong_changes_are_told_at_once_with_their_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = tmp_path / "changes.yaml"
    changes.write_text("- replace: {hydra-compute/gpu1: }\n- swap: {a/gpu0: b}\n")

    code = run_command(
        ["upgrade", str(EXAMPLES / "hydra" / "before.yaml"), "--changes", str(changes), "--limit", "x=0", "--json"]
    )

    assert code == INVALID
    wheres = [problem["where"] for problem in problems(capsys)]
    assert wheres == ["--limit x", f"{changes}:1:13", f"{changes}:2:10"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("--replace", "hydra-compute/gpu1=RTX 5070 Tii"), "did you mean `RTX 5070 Ti`"),
        (("--replace", "hydra-compute/gpu7=RTX 5090"), "use one of its GPUs (0, 1)"),
        (("--add", "hydra-computer=RTX 5090"), "did you mean `hydra-compute`?"),
    ],
)
def test_a_wrong_name_comes_with_the_right_one(
    changes: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(["upgrade", str(EXAMPLES / "hydra" / "before.yaml"), *changes])

    assert code == INVALID
    assert words in capsys.readouterr().err


def test_nothing_to_change_is_no_upgrade(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["upgrade", str(EXAMPLES / "hydra" / "before.yaml")]) == INVALID
    assert "no change was asked for" in capsys.readouterr().err


def test_another_file_and_changes_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*HYDRA, "--to", str(EXAMPLES / "hydra" / "cluster.yaml")]) == INVALID
    assert "`--to` and changes were both given" in capsys.readouterr().err


def test_a_changes_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["upgrade", str(EXAMPLES / "hydra" / "before.yaml"), "--changes", "none.yaml"]) == MISSING
    assert "cannot read the changes file" in capsys.readouterr().err
