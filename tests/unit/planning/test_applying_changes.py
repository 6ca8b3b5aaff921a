"""Changes of hardware, written into a cluster file: what follows a GPU, what is told, and what is refused."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.hardware.power.limits import LimitRange
from corral.planning.changes import Changed, ChangesError, GpuAddress, apply_changes, find_problems, parse_options
from doubles.clusters import forty_mixed_nodes

EXAMPLES = Path(__file__).parents[3] / "examples"
BEFORE = (EXAMPLES / "hydra/before.yaml").read_text()
FILES = {
    name: (EXAMPLES / name).read_text() for name in ("hydra/before.yaml", "hydra/cluster.yaml", "harvis/cluster.yaml")
}
FILES["forty"] = forty_mixed_nodes()
POOL = """\
apiVersion: corral/v1
name: pool
nodes:
  - name: a
    gpus:
      - {model: RTX 5090}
      - {model: RTX 4090, uuid: GPU-1, powerLimit: 300} # bought used
      - {model: RTX 3090}
  - {name: b, gpus: [{model: RTX 4090, index: 3}]}
  - name: found
services:
  - {name: comfyui, engines: [comfyui], node: a, gpus: 1}
layouts:
  pool:
    services:
      comfyui: {gpus: [0, 1, 2]}
engines:
  comfyui:
    instances:
      - {name: one, url: "http://a:8188", node: a, gpu: 2}
queues:
  - name: all
    pool: [a/gpu0, a/gpu1, a/gpu2, b] # every GPU
"""
SMALL_FILES = (*(FILES[name] for name in FILES if name != "forty"), POOL)


def change(text: str, *options: tuple[str, str]) -> Changed:
    return apply_changes(text, parse_options(options), filename="cluster.yaml", find_gpu=find_gpu)


def problems(text: str, *options: tuple[str, str]) -> list[tuple[str, str | None]]:
    with pytest.raises(ChangesError) as caught:
        change(text, *options)
    assert all(problem.hint for problem in caught.value.problems)
    return [(problem.code, problem.where) for problem in caught.value.problems]


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in list(lines)[2:] if not line.startswith("@@")]


def node(changed: Changed, name: str) -> list[tuple[int, str | None, int | None]]:
    (match,) = (node for node in changed.cluster.nodes if node.name == name)
    return [(gpu.index, gpu.model, gpu.power_limit_w) for gpu in match.gpus or ()]


def test_the_upgrade_of_hydra_changes_cards_limits_and_labels_and_no_other_line() -> None:
    changed = change(BEFORE, ("replace", "hydra-compute/gpu1=RTX 5070 Ti"), ("limit", "hydra-compute=250"))

    assert changed_lines(BEFORE, changed.text) == [
        "-      - {model: RTX 5070 Ti, index: 0}",
        "-      - {model: RTX 3060 12GB, index: 1}",
        "+      - {model: RTX 5070 Ti, index: 0, powerLimit: 250}",
        "+      - {model: RTX 5070 Ti, index: 1, powerLimit: 250}",
        '-      hydra.io/vram-total: "28"',
        '-      hydra.io/gpu-classes: 5070ti-3060 # written "5070ti,3060" there, which is no label value',
        '+      hydra.io/vram-total: "32"',
        '+      hydra.io/gpu-class: 5070ti # written "5070ti,3060" there, which is no label value',
        '+      hydra.io/gpu-count: "2"',
        '+      hydra.io/homogeneous: "true"',
        '-      hydra.io/has-3060: "true"',
        "+    removedLabels: [hydra.io/gpu-classes, hydra.io/has-3060]",
    ]


def test_the_upgraded_hydra_has_the_nodes_of_the_example_after_it() -> None:
    changed = change(BEFORE, ("replace", "hydra-compute/gpu1=5070 ti"), ("limit", "hydra-compute=250W"))

    after = load(FILES["hydra/cluster.yaml"], filename="after", find_gpu=find_gpu)
    assert changed.cluster.nodes == after.nodes


def test_a_label_that_goes_comes_with_the_command_that_removes_it_from_the_node() -> None:
    changed = change(BEFORE, ("replace", "hydra-compute/gpu1=RTX 5070 Ti"))

    assert {label.key: (label.before, label.after) for label in changed.labels} == {
        "hydra.io/vram-total": ("28", "32"),
        "hydra.io/gpu-class": (None, "5070ti"),
        "hydra.io/gpu-classes": ("5070ti-3060", None),
        "hydra.io/gpu-count": (None, "2"),
        "hydra.io/homogeneous": (None, "true"),
        "hydra.io/has-3060": ("true", None),
    }
    assert {label.command for label in changed.labels} == {
        None,
        "kubectl label node hydra-compute hydra.io/gpu-classes-",
        "kubectl label node hydra-compute hydra.io/has-3060-",
    }


def test_an_upgrade_can_be_taken_back() -> None:
    there = change(FILES["hydra/cluster.yaml"], ("replace", "hydra-compute/gpu1=RTX 3060 12GB"))

    (labels,) = (node.labels for node in there.cluster.nodes if node.name == "hydra-compute")
    assert labels == {
        "hydra.io/vram-total": "28",
        "hydra.io/gpu-classes": "5070ti-3060",
        "hydra.io/gpu-count": "2",
        "hydra.io/homogeneous": "false",
        "hydra.io/has-5070ti": "true",
        "hydra.io/has-3060": "true",
        "hydra.io/workload": "training",
    }
    (gone,) = (node.removed_labels for node in there.cluster.nodes if node.name == "hydra-compute")
    assert gone == ("hydra.io/gpu-class",), "what it gets again is to be removed no longer"


def test_a_label_that_the_file_does_not_write_is_removed_too() -> None:
    changed = change(POOL + "kubernetes: {}\n", ("add", "b=RTX 5090"))

    assert [node.removed_labels for node in changed.cluster.nodes if node.name == "b"] == [("corral.dev/gpu-class",)]
    assert not any(node.removed_labels for node in changed.cluster.nodes if node.name != "b")


def test_what_was_stated_of_the_old_card_goes_with_it() -> None:
    changed = change(POOL, ("replace", "a/gpu1=RTX 5070 Ti"))

    assert "- {model: RTX 5070 Ti} # bought used" in changed.text
    assert [note.what for note in changed.notes] == ["the power limit of 300 W was the old GPU's and is gone"]
    assert changed.notes[0].where == "cluster.yaml:7:9 nodes[0].gpus[1]"


def test_comments_about_a_card_that_is_gone_stay_and_are_named() -> None:
    changed = change(BEFORE, ("replace", "hydra-compute/gpu1=RTX 5070 Ti"))

    lines = changed.text.splitlines()
    spoken_of = [lines[int(note.where.split(":")[1]) - 1] for note in changed.notes]
    assert spoken_of == [line for line in lines if "3060" in line.partition("#")[2] and "-queue" not in line]
    assert all("RTX 3060 12 GB" in note.what for note in changed.notes)


def test_a_comment_about_a_card_that_is_still_somewhere_is_not_named() -> None:
    changed = change(POOL.replace("bought used", "the 4090").replace("every", "the 3090"), ("remove", "a/gpu1"))

    assert [note.what for note in changed.notes if "comment" in note.what] == []


def test_every_note_points_at_a_line_that_is_about_it() -> None:
    changed = change(POOL, ("remove", "a/gpu1"))

    lines = changed.text.splitlines()
    assert {note.what: lines[int(note.where.split(":")[1]) - 1].strip() for note in changed.notes} == {
        "a/gpu2 becomes a/gpu1: the driver numbers GPUs without gaps": "- {model: RTX 3090}",
        "a/gpu1 is not there any more and was taken out": "comfyui: {gpus: [0, 1]}",
        "a/gpu2 became 1: it follows the GPU": '- {name: one, url: "http://a:8188", node: a, gpu: 1}',
        "a/gpu2 became a/gpu1: it follows the GPU": "pool: [a/gpu0, a/gpu1, b] # every GPU",
    }


def test_cards_behind_one_that_leaves_move_up_and_everything_follows_them() -> None:
    changed = change(POOL, ("remove", "a/gpu1"))

    assert node(changed, "a") == [(0, "RTX 5090", None), (1, "RTX 3090", None)]
    assert "pool: [a/gpu0, a/gpu1, b] # every GPU" in changed.text
    assert "comfyui: {gpus: [0, 1]}" in changed.text
    assert changed.cluster.engines["comfyui"].instances[0].gpu == 1
    assert changed.moves[GpuAddress(node="a", index=1)] is None
    assert changed.moves[GpuAddress(node="a", index=2)] == GpuAddress(node="a", index=1)


def test_indexes_that_had_gaps_are_the_users_and_stay() -> None:
    changed = change(POOL, ("add", "b=RTX 4090"))

    assert node(changed, "b") == [(3, "RTX 4090", None), (4, "RTX 4090", None)]


def test_a_limit_of_a_card_that_comes_names_it_behind_all_that_were_there_before() -> None:
    changed = change(
        POOL, ("remove", "a/gpu1"), ("add", "a=RTX 5070 Ti"), ("limit", "a/gpu2=290"), ("limit", "a/gpu3=250")
    )

    assert node(changed, "a") == [(0, "RTX 5090", None), (1, "RTX 3090", 290), (2, "RTX 5070 Ti", 250)]


def test_a_card_that_moves_takes_its_uuid_and_limit_and_its_pool_along() -> None:
    changed = change(POOL, ("move", "a/gpu1=b"))

    assert node(changed, "b") == [(3, "RTX 4090", None), (4, "RTX 4090", 300)]
    assert "{model: RTX 4090, index: 4, uuid: GPU-1, powerLimit: 300}" in changed.text
    assert "pool: [a/gpu0, b/gpu4, a/gpu1, b] # every GPU" in changed.text


def test_a_layout_whose_only_card_goes_is_left_open_and_says_so() -> None:
    text = POOL.replace("gpus: [0, 1, 2]", "gpus: [1]")

    changed = change(text, ("remove", "a/gpu1"))

    assert "comfyui: {}" in changed.text
    assert any("left open" in note.what and "layouts.pool" in note.where for note in changed.notes)


def test_a_queue_without_a_slot_and_a_server_without_its_card_are_for_the_user_to_decide() -> None:
    text = POOL.replace("[a/gpu0, a/gpu1, a/gpu2, b]", "[a/gpu2]")

    assert problems(text, ("remove", "a/gpu2")) == [("changes.dangling", "--remove a/gpu2")] * 2


def test_a_node_is_added_with_cards_power_supply_and_memory() -> None:
    changed = change(
        BEFORE,
        ("add-node", "hydra-next=RTX 5090, 3060 12gb"),
        ("add", "hydra-next=RTX 4090"),
        ("psu", "hydra-next=1200"),
        ("memory", "hydra-next=128Gi"),
        ("limit", "hydra-next=400"),
        ("limit", "hydra-next/gpu1=120"),
    )

    new = changed.cluster.nodes[-1]
    assert (new.name, new.psu_w, new.memory) == ("hydra-next", 1200, 128 * 2**30)
    assert node(changed, "hydra-next") == [(0, "RTX 5090", 400), (1, "RTX 3060 12 GB", 120), (2, "RTX 4090", 400)]
    assert not [line for line in changed_lines(BEFORE, changed.text) if line.startswith("-")]


def test_cards_can_move_into_a_node_that_is_new() -> None:
    changed = change(POOL, ("add-node", "c"), ("move", "b/gpu3=c"), ("move", "a/gpu1=c"), ("limit", "b=100"))

    assert node(changed, "c") == [(0, "RTX 4090", None), (1, "RTX 4090", 300)]
    assert node(changed, "b") == []
    assert changed.moves[GpuAddress(node="b", index=3)] == GpuAddress(node="c", index=0)


def test_every_problem_is_told_at_once_with_the_place_where_it_was_asked_for() -> None:
    errors = problems(
        POOL,
        ("replace", "a/gpu7=RTX 5090"),
        ("replace", "a/gpu0=RTX 5909"),
        ("replace", "a/gpu1=RTX 3060"),
        ("remove", "a/gpu1"),
        ("replace", "a/gpu2=RTX 5090"),
        ("replace", "a/gpu2=RTX 4090"),
        ("move", "b/gpu3=b"),
        ("add", "found=RTX 5090"),
        ("add", "aa=RTX 5090"),
        ("add-node", "b=RTX 5090"),
        ("psu", "a=1000"),
        ("psu", "a=1200"),
        ("limit", "b/gpu9=100"),
    )

    assert errors == [
        ("changes.unknown_reference", "--replace a/gpu7"),
        ("changes.unknown_reference", "--replace a/gpu0"),
        ("changes.ambiguous_reference", "--replace a/gpu1"),
        ("changes.conflict", "--remove a/gpu1"),
        ("changes.conflict", "--replace a/gpu2"),
        ("changes.conflict", "--move b/gpu3"),
        ("changes.unlisted_gpus", "--add found"),
        ("changes.unknown_reference", "--add aa"),
        ("changes.duplicate_name", "--add-node b"),
        ("changes.conflict", "--psu a"),
        ("changes.unknown_reference", "--limit b/gpu9"),
    ]


def test_a_power_limit_on_a_card_that_is_removed_is_a_contradiction() -> None:
    assert problems(POOL, ("remove", "a/gpu1"), ("limit", "a/gpu1=200")) == [("changes.conflict", "--limit a/gpu1")]


def test_a_power_limit_far_above_what_cards_take_is_told_for_each_with_the_figure_of_the_catalogue() -> None:
    asked = parse_options([("replace", "hydra-compute/gpu1=RTX 5090"), ("limit", "hydra-compute=9000"), ("psu", "x=1")])

    with pytest.raises(ChangesError) as caught:
        apply_changes(BEFORE, asked, filename="cluster.yaml", find_gpu=find_gpu)

    assert [(problem.code, problem.what.partition(" that")[0]) for problem in caught.value.problems] == [
        ("changes.unknown_reference", "there is no node 'x'"),
        ("changes.out_of_range", "hydra-compute/gpu0: 9000 W is 3000 % of the 300 W"),
        ("changes.out_of_range", "hydra-compute/gpu1: 9000 W is 1565 % of the 575 W"),
    ]


def test_a_power_limit_may_be_higher_than_the_catalogue_says() -> None:
    changed = change(BEFORE, ("limit", "hydra-compute/gpu0=400"))  # some boards of the RTX 5070 Ti take 350 W and more

    assert node(changed, "hydra-compute")[0] == (0, "RTX 5070 Ti", 400)


def test_a_power_limit_that_the_card_refuses_is_told_where_its_range_is_known() -> None:
    ranges = {GpuAddress(node="a", index=1): LimitRange(minimum_w=150, maximum_w=600)}
    asked = parse_options([("limit", "a=100")])

    with pytest.raises(ChangesError) as caught:
        apply_changes(POOL, asked, filename="cluster.yaml", find_gpu=find_gpu, limit_ranges=ranges)

    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("changes.out_of_range", "--limit a")
    assert "150 W to 600 W" in problem.what


def test_the_hint_for_a_model_lists_what_it_may_mean() -> None:
    with pytest.raises(ChangesError) as caught:
        change(POOL, ("replace", "a/gpu1=RTX 3060"))

    assert "`RTX 3060 12 GB` (12.0 GiB)" in (caught.value.hint or "")


@pytest.mark.parametrize("name", FILES)
def test_without_a_change_the_text_is_the_same(name: str) -> None:
    assert change(FILES[name]).text == FILES[name]


MODELS = st.sampled_from(["RTX 5090", "RTX 4090", "RTX 5070 Ti", "RTX 3090 Ti"])


def draw_changes(data: st.DataObject, text: str) -> list[tuple[str, str]]:
    """Draw changes of up to four GPUs of a file, and one GPU more."""
    before = load(text, filename="before", find_gpu=find_gpu)
    gpus = [f"{node.name}/gpu{gpu.index}" for node in before.nodes for gpu in node.gpus or ()]
    nodes = [node.name for node in before.nodes if node.gpus is not None]
    options: list[tuple[str, str]] = []
    for gpu in data.draw(st.lists(st.sampled_from(gpus), unique=True, max_size=4)):
        word = data.draw(st.sampled_from(["replace", "remove", "move"]))
        value = {"replace": MODELS, "move": st.sampled_from(nodes)}.get(word)
        options.append((word, gpu if value is None else f"{gpu}={data.draw(value)}"))
    return [*options, ("add", f"{data.draw(st.sampled_from(nodes))}={data.draw(MODELS)}")]


def assert_cards_are_as_asked(text: str, *options: tuple[str, str]) -> None:
    changed = change(text, *options)
    before = load(text, filename="before", find_gpu=find_gpu)
    count = sum(len(node.gpus or ()) for node in before.nodes)
    removed, added = (sum(word == verb for word, _ in options) for verb in ("remove", "add"))
    assert sum(len(node.gpus or ()) for node in changed.cluster.nodes) == count - removed + added
    comments = [line.partition("#")[2] for line in text.splitlines() if line.lstrip().startswith("#")]
    assert [comment for comment in comments if comment not in changed.text] == []
    assert change(text, *options) == changed


@settings(max_examples=20)
@given(st.data())
def test_any_changes_give_a_file_that_loads_with_the_cards_that_were_asked_for(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(SMALL_FILES))
    try:
        assert_cards_are_as_asked(text, *draw_changes(data, text))
    except ChangesError as error:
        codes = {problem.code for problem in error.problems}
        assert codes <= {"changes.dangling", "changes.conflict"}  # a queue without slots; a move to the same node


def test_changes_of_every_kind_in_a_large_file_give_the_cards_that_were_asked_for() -> None:
    assert_cards_are_as_asked(
        FILES["forty"],
        ("replace", "node-01/gpu0=RTX 5090"),
        ("remove", "node-03/gpu0"),
        ("move", "node-02/gpu0=node-03"),
        ("add", "node-03=RTX 4090"),
    )


def test_changes_beside_one_that_cannot_be_read_are_checked_all_the_same() -> None:
    with pytest.raises(ChangesError) as caught:
        parse_options([("psu", "hydra-compute=nan"), ("replace", "hydra-compute/gpu7=RTX 9999")])

    cluster = load(BEFORE, filename="before", find_gpu=find_gpu)
    places = [problem.where for problem in find_problems(caught.value.readable, cluster, find_gpu)]

    assert places == ["--replace hydra-compute/gpu7", "--replace hydra-compute/gpu7"]


def test_the_limit_of_a_card_that_comes_is_no_problem_when_its_model_is_one() -> None:
    asked = [("add", "hydra-ai=RTX 9999"), ("limit", "hydra-ai/gpu2=250")]

    assert problems(BEFORE, *asked) == [("changes.unknown_reference", "--add hydra-ai")]


def test_a_card_that_could_not_be_read_may_be_the_one_that_gets_a_limit() -> None:
    cluster = load(BEFORE, filename="before", find_gpu=find_gpu)
    with pytest.raises(ChangesError) as caught:
        parse_options([("add", "hydra-ai="), ("limit", "hydra-ai/gpu2=250"), ("remove", "hydra-ai/gpu5")])

    places = [problem.where for problem in find_problems(caught.value.readable, cluster, find_gpu)]

    assert places == ["--remove hydra-ai/gpu5"]
