"""What a linter reads: whatever cannot be read is named, and the rest is still read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.linting.corpus import LARGEST_FILE
from corral.linting.documents import DEEPEST, LARGEST_DOCUMENT, Document, read_blocks, read_documents
from corral.linting.runner import lint
from corral.linting.values import Gap, Position, Source, Unread

BAD = "kind: Deployment\n  broken: [\n"
GOOD = "topologyKey: nvidia.com/gpu\n"


def judged(text: str, name: str = "a.yaml") -> tuple[list[str], list[str]]:
    report = lint([Source(name=name, text=text)])
    return [f"{finding.rule.id}@{finding.place.line}" for finding in report.findings], [
        str(unread.place.line) for unread in report.unread
    ]


def test_a_broken_document_does_not_hide_the_others() -> None:
    findings, unread = judged(f"{GOOD}---\n{BAD}---\n{GOOD}")
    assert findings == ["A01@1", "A01@6"]
    assert unread == ["4"]


def test_a_template_is_named_as_one() -> None:
    (unread,) = lint([Source(name="a.yaml", text="{{- if .Values.gpu }}\nkind: Pod\n{{- end }}\n")]).unread
    assert "render it first" in unread.why


def test_a_value_that_a_template_fills_is_not_judged() -> None:
    assert judged("topologyKey: '{{ .Values.key }}'\n") == ([], [])


def test_blocks_of_markdown_have_the_lines_of_the_page() -> None:
    assert judged(f"# Title\n\ntext\n\n```yaml\na: 1\n{GOOD}```\n", "page.md") == (["A01@7"], [])


def test_a_fence_inside_a_longer_one_is_text() -> None:
    (block,) = read_blocks("````md\n```yaml\na: 1\n```\n````\n")
    assert block.text == "```yaml\na: 1\n```\n"


def test_a_fence_that_is_never_closed_reaches_to_the_end() -> None:
    assert [block.text for block in read_blocks("~~~yaml\na: 1\n")] == ["a: 1\n"]


def test_a_key_that_stands_twice_is_kept_with_the_place_of_the_later_one() -> None:
    (document,) = read_documents("a.yaml", "a: 1\nb: 2\na: 3\n")
    assert isinstance(document, Document)
    assert document.tree.duplicates == (("a", Position("a.yaml", 3, 1)),)
    assert document.tree["a"].number == 3


def test_merged_keys_are_seen_and_own_ones_win() -> None:
    (document,) = read_documents("a.yaml", "base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\n")
    assert isinstance(document, Document)
    assert {key: value.number for key, value in document.tree["use"].items} == {"x": 1, "y": 3}


def test_an_alias_to_itself_ends() -> None:
    (document,) = read_documents("a.yaml", "a: &a\n  b: *a\n  <<: *a\n")
    assert isinstance(document, Document)
    assert len(list(document.tree.walk())) == 2


def test_a_billion_laughs_cost_nothing() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert judged("\n".join(lines)) == ([], [])


def test_what_is_too_large_or_too_deep_is_named_and_the_rest_is_read() -> None:
    flow = "a: " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)
    block = "\n".join(" " * level + "k:" for level in range(DEEPEST + 1))
    dashes = "- " * 100_000 + "x"
    marks = "? - : " * 50_000 + "x"
    long = f"a: {'x' * LARGEST_DOCUMENT}"
    for text in (flow, block, dashes, marks, long):
        findings, unread = judged(f"{text}\n---\n{GOOD}")
        assert len(findings) == 1
        assert len(unread) == 1


def test_documents_of_many_levels_below_each_other_end_no_run() -> None:
    lines = [" " * (2 * 49 * level) + "- " * 49 + "x:" for level in range(60)]
    judged("\n".join(lines))


@pytest.mark.parametrize("number", ["²", "9" * 5000, "٣", "1e999", "0x", "-0", "1_000", "0b1"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_no_number_stops_the_rules(number: str, quote: str) -> None:
    value = f"{quote}{number}{quote}"
    judged(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n"
        f"spec: {{replicas: {value}, strategy: {{rollingUpdate: {{maxSurge: {value}, maxUnavailable: {value}}}}}, "
        f"template: {{spec: {{containers: [{{name: a, env: [{{name: WEB_CONCURRENCY, value: {value}}}, "
        f"{{name: CUDA_VISIBLE_DEVICES, value: {value}}}], "
        f"resources: {{limits: {{nvidia.com/gpu: {value}}}}}}}]}}}}}}\n"
        f"---\nmodel_list: [{{litellm_params: {{model: ollama/a, api_base: 'http://[{number}'}}}}]\n"
    )


def test_thousands_of_services_with_one_selector_are_all_judged() -> None:
    template = (
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{0}}}\nspec: {{selector: {{app: a}}}}\n---\n"
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{0}, labels: {{app: a}}}}\n"
        "spec: {{containers: [{{name: a, image: 'r/x{0}:1'}}]}}\n"
    )
    report = lint([Source(name="a.yaml", text="---\n".join(template.format(number) for number in range(1_000)))])
    assert report.documents == 2_000
    assert {finding.rule.id for finding in report.findings} == {"D04"}
    assert max(len(finding.what) for finding in report.findings) < 200


def test_a_slow_pattern_of_a_patch_fits_nothing() -> None:
    patch = (
        'resources: [a.yaml]\npatches: [{target: {kind: Pod, name: "(a+)+$"}, patch: "- {op: remove, path: /spec}"}]'
    )
    pod = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {'a' * 60}b}}\nspec: {{containers: []}}\n"
    assert lint([Source(name="kustomization.yaml", text=patch), Source(name="a.yaml", text=pod)]).findings == ()


def test_keys_that_a_template_fills_are_no_keys() -> None:
    assert judged('a: {? {{{ x }}} : 1, ? {{{ y }}} : 2}\n"{{ z }}": 1\n"{{ z }}": 2\n') == ([], [])


def test_a_page_is_judged_for_itself() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: a}\nspec: {selector: {app: a}}\n"
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: b, labels: {app: a}}\nspec: {containers: []}\n"
    page = Source(name="page.md", text=f"```yaml\n{service}```\n")
    assert lint([page, Source(name="a.yaml", text=pod)]).findings == ()
    assert [
        finding.rule.id
        for finding in lint([Source(name="b.yaml", text=service), Source(name="a.yaml", text=pod)]).findings
    ] == ["D01"]


def test_labels_of_commands_and_of_nix_have_their_own_lines() -> None:
    flag = "--node-label=kubernetes.io/x=1"
    assert judged(f"k3s agent {flag}\nk3s agent \\\n  {flag}\n", "a.sh") == (["F04@1", "F04@3"], [])
    nix = f'{{\n  # größer 🦙\n  services.k3s.extraFlags = [\n    "{flag}"\n  ];\n}}\n'
    assert judged(nix, "a.nix") == (["F04@4"], [])


def test_nix_of_many_levels_ends() -> None:
    text = "{ a = " * 20_000 + "1" + "; }" * 20_000
    assert judged(text, "a.nix") == ([], [])


def test_a_file_of_fifty_megabytes_is_named_and_the_others_are_judged() -> None:
    assert LARGEST_FILE < 50_000_000
    report = lint([Source(name="a.yaml", text="a: b\n" * 10_000_000), Source(name="b.yaml", text=GOOD)])
    assert [unread.place.file for unread in report.unread] == ["a.yaml"]
    assert [finding.place.file for finding in report.findings] == ["b.yaml"]


def test_ten_thousand_documents_are_all_judged() -> None:
    report = lint([Source(name="a.yaml", text="---\n".join([GOOD] * 10_000))])
    assert (len(report.findings), report.findings[-1].place.line) == (10_000, 19_999)


@given(st.text(max_size=400))
@settings(max_examples=200)
def test_no_text_stops_the_linter(text: str) -> None:
    for name in ("a.yaml", "a.md", "a.nix", "Dockerfile"):
        lint([Source(name=name, text=text)])


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["kind", "apiVersion", "metadata", "spec", "template", "containers", "resources", "limits", "nvidia.com/gpu",
         "env", "name", "value", "selector", "replicas", "strategy", "labels", "ports", "namespace", "volumes"]
    ), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@given(st.sampled_from(["Deployment", "Service", "Pod", "List", "CronJob", "ClusterQueue"]), _VALUES)
@settings(max_examples=300)
def test_no_shape_stops_the_rules(kind: str, spec: object) -> None:
    import json

    text = json.dumps({"apiVersion": "apps/v1", "kind": kind, "metadata": spec, "spec": spec, "items": spec})
    report = lint([Source(name="a.yaml", text=text)])
    assert all(isinstance(unread, Unread) for unread in report.unread)


@pytest.mark.parametrize(
    "text",
    [
        "b0: &b0 {k: 1}\n" + "".join(f"b{i}: &b{i}\n  <<: [*b{i - 1}, *b{i - 1}]\n  k{i}: 1\n" for i in range(1, 26)),
        "a: &a\n  <<: &b\n    <<: *a\n",
    ],
)
def test_a_document_whose_merge_keys_expand_beyond_bounds_is_named_and_not_read(text: str) -> None:
    (document,) = read_documents("bomb.yaml", text)
    assert isinstance(document, Unread)
    assert "merge keys" in document.why


def test_aliases_of_ordinary_size_are_read() -> None:
    text = "base: &base {a: 1, b: &list [1, 2]}\n" + "".join(f"s{i}: {{<<: *base, c: *list}}\n" for i in range(1000))
    (document,) = read_documents("plain.yaml", text)
    assert not isinstance(document, Unread)


def test_a_file_that_is_not_all_nix_is_named_at_its_first_error() -> None:
    (part,) = lint(
        [Source(name="a.nix", text='{\n  services.k3s.enable = true\n  networking.hostName = "a";\n}\n')]
    ).unread

    assert (part.place.file, part.place.line, part.gap) == ("a.nix", 3, Gap.UNREADABLE)


def test_a_comma_after_the_last_argument_is_nix() -> None:
    assert lint([Source(name="a.nix", text="{\n  lib,\n  pkgs,\n}: {\n  a = 1;\n}\n")]).unread == ()


def test_a_computed_setting_of_a_machine_is_reported_as_not_judged() -> None:
    cluster = load("apiVersion: corral/v1\nname: home\nnodes: [{name: box}]\n", filename="c", find_gpu=find_gpu)
    text = "{ config, ... }: {\n  hardware.nvidia.open = config.my.open;\n  services.k3s.enable = true;\n}\n"

    (part,) = lint([Source(name="box.nix", text=text)], cluster=cluster).unread

    assert (part.place.line, part.gap) == (2, Gap.UNJUDGED)
    assert "`hardware.nvidia.open` is computed" in part.why
