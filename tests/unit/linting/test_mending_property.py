"""What an edit changes: the values that are wrong and nothing else, whatever the file is written like."""

from __future__ import annotations

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.linting.documents import read_blocks
from corral.linting.runner import apply_fixes, lint
from corral.linting.values import Source

WRONG = """\
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {"größe": 32, "🦙": "😀", tall: yes}}
spec:
  nodeSelector: {"😀": 3, other: 4} # ä
  containers:
    - name: a
      image: hello-there:1.0
      imagePullPolicy: Always
      env: [{name: ÄÖ, value: 1}]
      resources: {limits: {nvidia.com/gpu: 1}, requests: {nvidia.com/gpu: 2}}
"""
MENDED = (
    ('"größe": 32', '"größe": "32"'),
    ("tall: yes", 'tall: "yes"'),
    ('"😀": 3', '"😀": "3"'),
    ("other: 4", 'other: "4"'),
    ("Policy: Always", "Policy: IfNotPresent"),
    ("value: 1}", 'value: "1"}'),
    ("requests: {nvidia.com/gpu: 2", "requests: {nvidia.com/gpu: 1"),
)
FLAGS = st.booleans()


@given(
    mark=FLAGS, windows=FLAGS, newline=FLAGS, page=FLAGS, several=FLAGS, before=st.sampled_from(["", "# ü\n", "\n\n"])
)
@settings(max_examples=80)
def test_a_mended_file_differs_in_the_edits_alone_and_has_nothing_left_to_mend(
    *, mark: bool, windows: bool, newline: bool, page: bool, several: bool, before: str
) -> None:
    text = before + WRONG + (f"---\n# 🦙\n{WRONG}" if several else "")
    text = f"# 🦙 Täter\n\n```yaml\n{text}```\n" if page else text
    text = text if newline else text.rstrip("\n")
    text = text.replace("\n", "\r\n") if windows else text
    text = f"\ufeff{text}" if mark else text
    name = "a.md" if page else "a.yaml"

    findings = lint([Source(name=name, text=text)]).findings
    after = apply_fixes({name: text}, findings)[name]

    wanted = text
    for wrong, right in MENDED:
        wanted = wanted.replace(wrong, right)
    assert after == wanted
    assert len(findings) == len(MENDED) * (1 + several)
    assert lint([Source(name=name, text=after)]).findings == ()
    parts = [block.text for block in read_blocks(after)] if page else [after.removeprefix("\ufeff")]
    assert all(list(yaml.safe_load_all(part)) for part in parts)


def test_a_value_that_an_inline_patch_writes_has_no_edit() -> None:
    kustomization = Source(
        name="kustomization.yaml",
        text="resources: [a.yaml]\npatches:\n  - patch: |-\n      kind: Pod\n      metadata: {name: a}\n"
        "      spec: {containers: [{name: a, imagePullPolicy: Always}]}\n",
    )
    pod = WRONG.replace("      imagePullPolicy: Always\n", "")
    report = lint([kustomization, Source(name="a.yaml", text=pod)])
    (pulled,) = [finding for finding in report.findings if finding.rule.id == "B12"]
    assert (pulled.place.file, pulled.edits) == ("kustomization.yaml", ())
