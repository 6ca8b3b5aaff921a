"""Alloy's files, read by a small strict reader of its language.

The reader stands in for `alloy fmt`, which no package registry has. It knows the grammar of Grafana's documentation
(Alloy configuration syntax): blocks with one label, attributes, strings, lists, objects, calls, `+`, references and
comments.
It does not know which arguments a component takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from corral.operations.cluster_file import read_cluster
from corral.rendering.targets import render_cluster
from doubles.clusters import forty_mixed_nodes

ROOT = Path(__file__).parents[4]
EXAMPLES = {
    "hydra": "examples/hydra/cluster.yaml",
    "hydra-before": "examples/hydra/before.yaml",
    "harvis": "examples/harvis/cluster.yaml",
    "edge": "examples/edge.yaml",
}
EVERYWHERE = [*EXAMPLES, "forty"]
LOKI = "loki.write.loki.receiver"
TOKEN = re.compile(
    r'(?P<space>[ \t]+|//[^\n]*)|(?P<line>\n)|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)'
    r"|(?P<number>\d+)|(?P<sign>[{}\[\](),=+])"
)


@dataclass
class Component:
    """A block as the reader found it: attributes as text, blocks inside."""

    name: str
    label: str | None
    attributes: dict[str, str] = field(default_factory=dict)
    blocks: list[Component] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"{self.name}.{self.label}" if self.label else self.name

    def every(self) -> Iterator[Component]:
        yield self
        for block in self.blocks:
            yield from block.every()


class Reader:
    """Reads a file of Alloy's language, and refuses what the grammar does not have."""

    def __init__(self, text: str) -> None:
        self.tokens = self._tokens(text)
        self.place = 0

    @staticmethod
    def _tokens(text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text):
            match = TOKEN.match(text, place)
            assert match, f"no token at {text[place : place + 30]!r}"
            if match.lastgroup != "space":
                tokens.append((str(match.lastgroup), match.group()))
            place = match.end()
        return [*tokens, ("end", "")]

    def file(self) -> list[Component]:
        return self._body(Component(name="file", label=None), until="").blocks

    def _body(self, inside: Component, *, until: str) -> Component:
        while True:
            self._lines()
            if self._next()[1] == until:
                self.place += 1
                return inside
            name = self._take("name")
            if self._next()[1] == "=":
                self.place += 1
                assert name not in inside.attributes, f"{name} is given twice"
                assert "." not in name
                inside.attributes[name] = self._expression()
            else:
                inside.blocks.append(self._block(name))
            assert self._next()[0] in ("line", "end"), f"something follows {name}: {self._next()}"

    def _block(self, name: str) -> Component:
        label = json.loads(self._take("string")) if self._next()[0] == "string" else None
        assert label is None or re.fullmatch(r"[A-Za-z_]\w*", label), label
        self._sign("{")
        return self._body(Component(name=name, label=label), until="}")

    def _expression(self) -> str:
        text = self._value()
        while self._next()[1] == "+":
            self.place += 1
            text += f" + {self._value()}"
        return text

    def _value(self) -> str:
        kind, text = self._next()
        self.place += 1
        if kind == "string":
            json.loads(text)
            return text
        if kind == "number":
            return text
        if text == "[":
            return f"[{', '.join(self._several(']', self._expression))}]"
        if text == "{":
            return "{" + ", ".join(self._several("}", self._pair)) + "}"
        assert kind == "name", f"no value: {text!r}"
        if self._next()[1] == "(":
            self.place += 1
            return f"{text}({', '.join(self._several(')', self._expression))})"
        return text

    def _pair(self) -> str:
        name = self._take("name")
        self._sign("=")
        return f"{name} = {self._expression()}"

    def _several(self, until: str, read: object) -> list[str]:
        assert callable(read)
        entries: list[str] = []
        while self._next()[1] != until:
            entries.append(read())
            if self._next()[1] != until:
                self._sign(",")
        self.place += 1
        return entries

    def _lines(self) -> None:
        while self._next()[0] == "line":
            self.place += 1

    def _next(self) -> tuple[str, str]:
        return self.tokens[self.place]

    def _take(self, kind: str) -> str:
        token, text = self._next()
        assert token == kind, f"{kind} expected, found {text!r}"
        self.place += 1
        return text

    def _sign(self, sign: str) -> None:
        assert self._next()[1] == sign, f"{sign} expected, found {self._next()[1]!r}"
        self.place += 1


@cache
def rendered(name: str, text: str | None = None) -> dict[str, str]:
    if text is None:
        text = (ROOT / EXAMPLES[name]).read_text() if name in EXAMPLES else forty_mixed_nodes()
    cluster = read_cluster(text, name="cluster.yaml").cluster
    return render_cluster(cluster, source="cluster.yaml", text=text, only=["alloy"]).files


def components(name: str, file: str) -> dict[str, Component]:
    blocks = Reader(rendered(name)[f"alloy/{file}.alloy"]).file()
    return {component.path: component for component in blocks}


def url(name: str, file: str) -> str:
    return components(name, file)["loki.write.loki"].blocks[0].attributes["url"]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_file_is_read_and_its_components_are_connected(name: str) -> None:
    for text in rendered(name).values():
        components_of_file = Reader(text).file()
        paths = [component.path for component in components_of_file]
        assert len(set(paths)) == len(paths)
        used = {
            reference.rpartition(".")[0]
            for component in components_of_file
            for block in component.every()
            for value in block.attributes.values()
            for reference in re.findall(r"\b(?:loki|discovery)\.[\w.]+", re.sub(r'"(?:[^"\\]|\\.)*"', "", value))
        }
        assert used == set(paths) - {path for path in paths if path.startswith("loki.source.")}
        assert "loki.write.loki" in used


@pytest.mark.parametrize(
    "broken",
    [
        'loki.write "x" {\n\turl = "a"\n',
        "a {\n\tb = [1 2]\n}\n",
        "a {\n\tb = 1\n\tb = 2\n}\n",
        'a "no label" {\n}\n',
        "a {\n\tb = \n}\n",
        "a {\n\tb = 1 c = 2\n}\n",
        'a {\n\tb = "open\n}\n',
        "a {\n}\n}\n",
    ],
)
def test_the_reader_refuses_what_alloy_would(broken: str) -> None:
    with pytest.raises(AssertionError):
        Reader(broken).file()


def test_loki_is_where_the_environment_says_else_where_the_cluster_file_has_it() -> None:
    assert url("hydra", "kubernetes") == (
        'coalesce(sys.env("LOKI_URL"), "http://loki.monitoring:3100") + "/loki/api/v1/push"'
    )
    assert url("hydra", "machine") == 'sys.env("LOKI_URL") + "/loki/api/v1/push"'
    assert url("harvis", "kubernetes") == 'sys.env("LOKI_URL") + "/loki/api/v1/push"'


def test_machines_reach_loki_at_its_node() -> None:
    text = (
        "apiVersion: corral/v1\nname: two\nnodes: [{name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.2}]\n"
        "services: [{name: loki, node: b}]\n"
    )
    assert 'coalesce(sys.env("LOKI_URL"), "http://10.0.0.2:3100")' in rendered("two", text)["alloy/machine.alloy"]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_password_is_a_file_that_the_environment_names(name: str) -> None:
    for text in rendered(name).values():
        for component in Reader(text).file():
            for block in component.every():
                assert "password" not in block.attributes
                if block.name == "basic_auth":
                    assert block.attributes["password_file"] == 'sys.env("LOKI_PASSWORD_FILE")'


def test_labels_are_bounded_and_a_pods_name_is_none() -> None:
    by_path = components("hydra", "kubernetes")
    made = {json.loads(rule.attributes["target_label"]) for rule in by_path["discovery.relabel.pods"].blocks}
    kept, dropped = by_path["loki.process.pods"].blocks
    assert (kept.name, kept.attributes) == ("stage.structured_metadata", {"values": '{pod = ""}'})
    assert dropped.name == "stage.label_drop"
    assert made - set(json.loads(dropped.attributes["values"])) == {"namespace", "app", "container", "node"}


def test_the_journal_gives_the_kernel_and_our_units_and_nothing_of_people() -> None:
    keep = components("hydra", "machine")["loki.relabel.journal"].blocks[0].attributes
    regex = re.compile(json.loads(keep["regex"]))
    assert regex.fullmatch("corral.service;stdout")
    assert regex.fullmatch("k3s-agent.service;stdout")
    assert regex.fullmatch(";kernel")
    assert not regex.fullmatch("session-3.scope;syslog")
    assert not regex.fullmatch("ssh.service;syslog")


def test_the_servers_own_log_is_read_unless_a_layout_deploys_the_server() -> None:
    assert "loki.source.file.corral" in components("edge", "machine")
    text = (
        "apiVersion: corral/v1\nname: one\nnodes: [{name: a, address: 10.0.0.1}]\n"
        'services: [{name: corral, kind: corral, image: "corral:1"}]\n'
    )
    assert "loki.source.file" not in rendered("one", text)["alloy/machine.alloy"]


def test_the_data_directory_of_the_cluster_file_is_where_the_log_is_read() -> None:
    text = "apiVersion: corral/v1\nname: one\nnodes: [{name: a}]\ndataDir: /srv/corral\n"
    assert '"/srv/corral") + "/server.log"' in rendered("own", text)["alloy/machine.alloy"]


def test_only_our_namespaces_are_read() -> None:
    component = components("hydra", "kubernetes")["discovery.kubernetes.pods"]
    assert component.blocks[0].attributes == {"names": '["ai-workloads"]'}
