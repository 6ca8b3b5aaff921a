"""The table of pitfalls that `corral doctor --kubernetes` finds, with the evidence that it looks at."""

from __future__ import annotations

from pieces import page, table

from corral.diagnosis.configured import LIVE_RULES
from corral.diagnosis.diagnosing import DIAGNOSES, SUBJECTS
from corral.diagnosis.registry import Diagnosis, find_pitfall
from corral.diagnosis.values import Pitfall

_INTRO = """\
`corral doctor --kubernetes` takes one snapshot of the cluster, reads the logs of containers that have trouble or
report on GPUs, runs `nvidia-smi -L` in containers that have a GPU, and looks for {count} pitfalls. It changes
nothing. Each finding has its cause, the values that it is concluded from (`-v`), and one fix. Where a kind of objects
cannot be read with the credentials, the pitfalls that need it are listed as not looked for. With a cluster file
(`-c`), the nodes, labels, GPUs and layouts of the file are compared with the cluster.

A letter from A to H is the rule of `corral lint` with the same cause; K is for what only a running cluster shows. A
link in the last column is the report or the page that the message of a kubelet, a runtime or a program is quoted
from; "from memory" means that the words of the message were written down without the page having them. What has
neither is shown by Kubernetes and Kueue themselves."""
_COLUMNS = ("pitfall", "cause", "severity", "evidence", "quoted from")


def render() -> str:
    """List the pitfalls by subject."""
    count = len({diagnosis.pitfall.id for diagnosis in DIAGNOSES} | set(LIVE_RULES))
    parts = [_INTRO.format(count=count)]
    for subject, module in SUBJECTS.items():
        diagnoses = [value for value in vars(module).values() if isinstance(value, Diagnosis)]
        parts += [f"## {subject}", table(_COLUMNS, map(_row, diagnoses))]
    parts += [
        "## Configuration\n\nThese rules of `corral lint` judge the live objects too.",
        table(
            _COLUMNS[:-1],
            (
                (_name(pitfall), pitfall.summary, pitfall.severity.value, evidence)
                for pitfall, evidence in _list_rules()
            ),
        ),
    ]
    return page("Symptoms of a cluster", *parts)


def _list_rules() -> list[tuple[Pitfall, str]]:
    return [(find_pitfall(rule), evidence) for rule, evidence in LIVE_RULES.items()]


def _row(diagnosis: Diagnosis) -> tuple[str, str, str, str, str]:
    pitfall = diagnosis.pitfall
    source = f"[report]({diagnosis.source})" if diagnosis.source else ""
    if diagnosis.is_recalled:
        source = f"from memory, about [this]({diagnosis.source})"
    return _name(pitfall), pitfall.summary, pitfall.severity.value, diagnosis.evidence, source


def _name(pitfall: Pitfall) -> str:
    return (
        f"[{pitfall.id}](../rules/{pitfall.id}.md) {pitfall.name}"
        if pitfall.has_page
        else f"{pitfall.id} {pitfall.name}"
    )
