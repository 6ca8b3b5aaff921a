"""What was found on a machine, written as a node's section and merged into one that people wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from corral.cluster import load
from corral.cluster.editing.editor import Editor
from corral.cluster.editing.nodes import Merged, find_nodes_like, merge_node
from corral.cluster.values import Cluster, Disk
from corral.cluster.writing import InstalledGpu, MachineFacts, write_file
from corral.hardware.catalogue import find_gpu
from corral.units import Bytes

GIB = 2**30
ONE, TWO = "GPU-11111111-1111-4111-8111-111111111111", "GPU-22222222-2222-4222-8222-222222222222"
TWINS = MachineFacts(
    name="box",
    address="10.0.0.7",
    addresses=("box", "10.0.0.7"),
    os="pop",
    cpu_model="AMD Ryzen 9 7950X 16-Core Processor",
    cpu_cores=16,
    memory=Bytes(67_000_000_000),
    psu_w=1000,
    disks=(Disk(name="nvme0n1", size=Bytes(2**40), medium="nvme"),),
    gpus=(
        InstalledGpu(index=0, uuid=ONE, model="RTX 5070 Ti", driver_name="NVIDIA GeForce RTX 5070 Ti"),
        InstalledGpu(
            index=1, uuid=TWO, model="RTX 5070 Ti", driver_name="NVIDIA GeForce RTX 5070 Ti", power_limit_w=250
        ),
    ),
)
FILE = """\
apiVersion: corral/v1
name: test
nodes:
  - name: box # mine
    os: pop-os # not "pop"
    roles: [generation]
    gpus: # two of them
      - {model: 5070ti} # left slot
      - {model: RTX 3060 12GB, memory: 12Gi, powerLimit: 120} # right slot
    cpu: {model: Ryzen 9 7950X}
    memory: 64Gi
    psu: {watts: 850, otherWatts: 150} # the label on it says so
    disks:
      - {name: sdb, size: 4Ti, medium: hdd} # backup, not always on
    labels:
      x/y: "1"
  # others
  - {name: other, address: 10.0.0.8, gpus: []}
"""


def merge(facts: MachineFacts, text: str = FILE, node: str = "box") -> tuple[Merged, Cluster]:
    merged = merge_node(Editor(text, filename="cluster.yaml"), facts, node=node, find_gpu=find_gpu)
    return merged, load(merged.text, filename="cluster.yaml", find_gpu=find_gpu)


def test_a_section_is_written_that_loads_as_it_was_found() -> None:
    cluster = load(write_file(TWINS), filename="new", find_gpu=find_gpu)

    (node,) = cluster.nodes
    assert (node.name, node.address, node.os, node.psu_w) == ("box", None, "pop", 1000)
    assert [(gpu.index, gpu.model, gpu.uuid, gpu.power_limit_w) for gpu in node.gpus or ()] == [
        (0, "RTX 5070 Ti", ONE, None),
        (1, "RTX 5070 Ti", TWO, 250),
    ]
    assert node.disks == TWINS.disks


def test_a_card_that_the_catalogue_does_not_know_is_written_with_its_memory_and_a_comment() -> None:
    card = InstalledGpu(index=0, uuid=ONE, driver_name="NVIDIA Nonesuch\n9000", memory=Bytes(48 * GIB))
    text = write_file(replace(TWINS, gpus=(card,)))

    assert f"- {{index: 0, memory: 48Gi, uuid: {ONE}}} # is `NVIDIA Nonesuch?9000`" in text
    assert load(text, filename="new", find_gpu=find_gpu).nodes[0].gpus


def test_gpus_that_could_not_be_asked_for_are_left_open_and_not_called_none() -> None:
    text = write_file(replace(TWINS, gpus=None, gpus_unknown_because="the driver is not loaded"))

    assert "# left open: gpus, since the driver is not loaded" in text
    assert load(text, filename="new", find_gpu=find_gpu).nodes[0].gpus is None


def test_a_merge_updates_what_the_machine_knows_and_keeps_what_it_cannot_know() -> None:
    merged, _ = merge(TWINS)

    assert merged.text == FILE.replace(
        "- {model: 5070ti} # left slot", f"- {{model: 5070ti, uuid: {ONE}}} # left slot"
    ).replace(
        "- {model: RTX 3060 12GB, memory: 12Gi, powerLimit: 120} # right slot",
        f"- {{model: RTX 5070 Ti, uuid: {TWO}, powerLimit: 120}} # right slot",
    ).replace("cpu: {model: Ryzen 9 7950X}", "cpu: {model: Ryzen 9 7950X, cores: 16}").replace(
        "# backup, not always on\n",
        "# backup, not always on\n      - {name: nvme0n1, size: 1024Gi, medium: nvme}\n",
    )


def test_where_the_machine_and_the_user_disagree_the_user_is_told() -> None:
    merged, _ = merge(TWINS)

    assert merged.notes == (
        "GPU 1 was RTX 3060 12GB, is RTX 5070 Ti",
        "the power limit of GPU 1 stays 120 W in the file; on the GPU it is 250 W",
        "the power supply stays 850 W; the board has 1000 W",
        "the drive sdb was not found on this machine; it stays in the file",
    )


def test_a_power_limit_that_the_card_refuses_is_told_with_what_it_takes() -> None:
    assert TWINS.gpus
    cards = (TWINS.gpus[0], replace(TWINS.gpus[1], power_range_w=(250.0, 350.0)))

    merged, _ = merge(replace(TWINS, gpus=cards))

    assert "GPU 1 refuses the power limit of 120 W in the file; it takes 250 W to 350 W" in merged.notes


def test_a_second_merge_finds_nothing_to_change() -> None:
    merged, _ = merge(TWINS)

    again, _ = merge(TWINS, merged.text)

    assert again.text == merged.text


def test_a_lost_card_stays_as_it_is_and_is_told() -> None:
    _, cluster = merge(TWINS)
    cards = tuple(replace(card, model=None, is_lost=card.index == 1) for card in TWINS.gpus or ())

    merged, after = merge(replace(TWINS, gpus=cards), merge(TWINS)[0].text)

    assert after == cluster
    assert "GPU 1 is lost; it stays in the file" in merged.notes


def test_a_card_that_is_not_found_stays_and_one_that_is_new_is_added() -> None:
    new = InstalledGpu(index=2, uuid="GPU-3", model="RTX 4090")
    assert TWINS.gpus

    merged, cluster = merge(replace(TWINS, gpus=(TWINS.gpus[0], new)))

    assert [gpu.model for gpu in cluster.nodes[0].gpus or ()] == ["RTX 5070 Ti", "RTX 3060 12 GB", "RTX 4090"]
    assert "GPU 1 (RTX 3060 12GB) was not found; it stays in the file" in merged.notes


def test_cards_that_changed_slots_are_known_by_their_uuid() -> None:
    text = merge(TWINS)[0].text
    assert TWINS.gpus
    first, second = TWINS.gpus
    swapped = (replace(second, index=0), replace(first, index=1))

    _, cluster = merge(replace(TWINS, gpus=swapped), text)

    assert [(gpu.index, gpu.uuid) for gpu in cluster.nodes[0].gpus or ()] == [(1, ONE), (0, TWO)]


def test_a_card_that_moved_to_another_slot_is_not_taken_for_the_new_one_in_its_old_slot() -> None:
    text = FILE.replace("- {model: 5070ti} # left slot", f"- {{model: 5070ti, index: 0, uuid: {TWO}}}").replace(
        "      - {model: RTX 3060 12GB, memory: 12Gi, powerLimit: 120} # right slot\n", ""
    )

    _, cluster = merge(TWINS, text)

    assert [(gpu.index, gpu.uuid) for gpu in cluster.nodes[0].gpus or ()] == [(1, TWO), (0, ONE)]


def test_cards_stay_as_they_are_when_the_driver_does_not_answer() -> None:
    merged, _ = merge(replace(TWINS, gpus=None, gpus_unknown_because="the driver is not loaded"))

    assert "- {model: RTX 3060 12GB, memory: 12Gi, powerLimit: 120} # right slot" in merged.text
    assert merged.notes[0] == "its GPUs stay as they are: the driver is not loaded"


def test_a_node_that_the_file_does_not_have_is_added_with_its_address() -> None:
    merged, cluster = merge(TWINS, node="third")

    assert merged.is_new
    assert merged.text.startswith(FILE.rstrip("\n"))
    assert (cluster.nodes[2].name, cluster.nodes[2].address) == ("third", "10.0.0.7")


def test_a_bare_node_is_filled_in_under_its_comment() -> None:
    text = "apiVersion: corral/v1\nname: test\nnodes:\n  - name: box # this machine\n\nqueues: [] # none\n"

    merged, _ = merge(TWINS, text)

    head, tail = merged.text[: text.index("\n\nqueues")], merged.text[-len("\n\nqueues: [] # none\n") :]
    assert (head, tail) == (text[: text.index("\n\nqueues")], "\n\nqueues: [] # none\n")
    keys = [
        line.strip().partition(":")[0] for line in merged.text.splitlines() if line.startswith("    ") and ":" in line
    ]
    assert [key for key in keys if not key.startswith("- ")] == ["os", "gpus", "cpu", "memory", "psu", "disks"]


@pytest.mark.parametrize(
    ("facts", "nodes"),
    [
        (replace(TWINS, name="box"), ("box",)),
        (replace(TWINS, name="elsewhere", addresses=("10.0.0.8",)), ("other",)),
        (replace(TWINS, name="elsewhere", addresses=()), ()),
        (replace(TWINS, addresses=("10.0.0.8",)), ("box", "other")),
    ],
    ids=["host name", "address", "nothing", "two nodes"],
)
def test_a_machine_is_known_by_its_name_or_address(facts: MachineFacts, nodes: tuple[str, ...]) -> None:
    assert find_nodes_like(Editor(FILE, filename="cluster.yaml"), facts) == nodes


def test_a_machine_is_known_by_its_cards_before_its_name() -> None:
    text = FILE.replace("gpus: []", f"gpus: [{{model: RTX 5070 Ti, uuid: {TWO}}}]")

    assert find_nodes_like(Editor(text, filename="cluster.yaml"), TWINS) == ("other",)
