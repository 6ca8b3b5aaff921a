"""Devices and slots come from the cluster file and from what this machine is."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.cluster import Cluster, load
from corral.cluster.values import Node
from corral.errors import ProblemsError
from corral.scheduling.values import Gate
from corral.server.slots_here import find_here, find_this_node, localize, make_queues
from corral.slots.registry import Registry
from corral.slots.values import Wanted, compare
from corral.work import SlotId
from doubles.kernel_gpus import VRAM_OF_7900_XTX, add_amd_card, add_integrated_amd, add_intel, add_pci_ids

TWO_COMFYUIS = """
apiVersion: corral/v1
name: test
nodes:
  - name: elsewhere
    address: 192.0.2.7
    gpus:
      - {model: RTX 5070 Ti, memory: 16Gi}
      - {model: RTX 5070 Ti, memory: 16Gi}
engines:
  comfyui:
    instances:
      - {name: left, url: "http://192.0.2.7:8188", node: elsewhere, gpu: 0}
      - {name: right, url: "http://192.0.2.7:8189", node: elsewhere, gpu: 1}
  ollama:
    instances:
      - {name: talk, url: "http://192.0.2.7:11434", node: elsewhere, gpu: 0}
      - {name: far, url: "http://192.0.2.8:11434"}
queues:
  - {name: images, pool: [elsewhere/gpu1]}
  - {name: one-node, pool: [elsewhere]}
  - {name: pictures, pool: [elsewhere/gpu0/comfyui]}
"""


NAMED = (("left", 8188), ("right", 8189))


def read(text: str) -> Cluster:
    return load(text, filename="cluster.yaml")


def list_wanted(text: str, folder: Path) -> Wanted:
    return localize(read(text), data_dir=folder, locate=lambda name: folder / name).wanted


def test_instances_on_one_gpu_are_slots_of_one_device_that_can_be_occupied_at_the_same_time(tmp_path: Path) -> None:
    wanted = list_wanted(TWO_COMFYUIS, tmp_path)
    assert sorted((slot.id, slot.place) for slot in wanted.slots) == [
        (slot, slot)
        for slot in ("elsewhere/gpu0/comfyui", "elsewhere/gpu0/ollama", "elsewhere/gpu1/comfyui", "far/ollama")
    ]
    processors = {place.id: place.processor for place in Registry(wanted).list_places()}
    assert processors["elsewhere/gpu0/comfyui"] == processors["elsewhere/gpu0/ollama"] == "elsewhere/gpu0"
    assert processors["elsewhere/gpu1/comfyui"] == "elsewhere/gpu1"
    assert [slot.id for slot in wanted.slots if slot.exclusive] == [
        "elsewhere/gpu0/comfyui",
        "elsewhere/gpu1/comfyui",
    ]
    assert {device.name: device.capacity for device in wanted.devices} == {
        "elsewhere/gpu0": 16 * 2**30,
        "elsewhere/gpu1": 16 * 2**30,
        "far": None,
    }


@pytest.mark.parametrize(
    ("engine", "instance", "exclusive"),
    [
        ("", "", {"comfyui/left", "comfyui/right"}),
        ("exclusive: false, ", "", set()),
        ("exclusive: false, ", ", exclusive: true", {"comfyui/left"}),
        ("", ", exclusive: false", {"comfyui/right"}),
    ],
)
def test_engine_computes_alone_as_its_instance_or_else_the_engine_says(
    tmp_path: Path, engine: str, instance: str, exclusive: set[str]
) -> None:
    left, right = (f'name: {name}, url: "http://192.0.2.7:{port}", node: a, gpu: 0' for name, port in NAMED)
    text = f"""
apiVersion: corral/v1
name: lab
nodes: [{{name: a, address: 192.0.2.7, gpus: [{{model: RTX 4090}}]}}]
engines: {{comfyui: {{{engine}instances: [{{{left}{instance}}}, {{{right}}}]}}}}
"""
    slots = list_wanted(text, tmp_path).slots
    assert {slot.id for slot in slots if slot.exclusive} == {f"a/gpu0/{name}" for name in exclusive}


def test_a_slot_has_as_many_lanes_as_its_instance_or_else_the_engine_says(tmp_path: Path) -> None:
    text = """
apiVersion: corral/v1
name: lab
nodes: [{name: a, address: 192.0.2.7, gpus: [{model: RTX 4090}]}]
engines:
  ollama:
    lanes: 4
    instances:
    - {name: left, url: "http://192.0.2.7:11434", node: a, gpu: 0}
    - {name: right, url: "http://192.0.2.7:11435", node: a, gpu: 0, lanes: 2}
  openai:
    instances: [{name: vllm, url: "http://192.0.2.7:8000", node: a, gpu: 0}]
"""
    lanes = {slot.id: slot.lanes for slot in list_wanted(text, tmp_path).slots}
    assert lanes == {"a/gpu0/ollama/left": 4, "a/gpu0/ollama/right": 2, "a/gpu0/openai": None}


def test_several_instances_of_an_engine_on_a_gpu_are_named_and_have_a_place_each(tmp_path: Path) -> None:
    wanted = list_wanted(TWO_COMFYUIS.replace("gpu: 1}\n  ollama", "gpu: 0}\n  ollama"), tmp_path)
    comfyuis = [slot for slot in wanted.slots if slot.engine == "comfyui"]
    assert [slot.id for slot in comfyuis] == ["elsewhere/gpu0/comfyui/left", "elsewhere/gpu0/comfyui/right"]
    assert {slot.device for slot in comfyuis} == {"elsewhere/gpu0"}
    assert [slot.place for slot in comfyuis] == [slot.id for slot in comfyuis]


def test_drained_slot_stays_so_when_another_instance_of_its_engine_comes_or_goes(tmp_path: Path) -> None:
    with_two = TWO_COMFYUIS.replace("gpu: 1}\n  ollama", "gpu: 0}\n  ollama")
    before, after = (list_wanted(text, tmp_path) for text in (TWO_COMFYUIS, with_two))
    for first, then, drained in ((before, after, "comfyui"), (after, before, "comfyui/left")):
        registry = Registry(first)
        registry.note_gates({SlotId(f"elsewhere/gpu0/{drained}"): Gate.DRAINING})
        registry.apply(registry.compare(then))
        gates = {slot.spec.instance: slot.gate for place in registry.list_views() for slot in place.slots}
        assert gates["left"] is Gate.DRAINING
        assert gates["talk"] is Gate.OPEN


def test_gate_of_an_engine_on_a_device_is_that_of_its_instances_until_one_has_its_own(tmp_path: Path) -> None:
    registry = Registry(list_wanted(TWO_COMFYUIS.replace("gpu: 1}\n  ollama", "gpu: 0}\n  ollama"), tmp_path))
    engine = "elsewhere/gpu0/comfyui"
    registry.note_gates({SlotId(engine): Gate.PAUSED, SlotId(f"{engine}/right"): Gate.OPEN})
    gates = {slot.spec.id: slot.gate for place in registry.list_views() for slot in place.slots}
    assert (gates[SlotId(f"{engine}/left")], gates[SlotId(f"{engine}/right")]) == (Gate.PAUSED, Gate.OPEN)


LOCAL = """
apiVersion: corral/v1
name: test
nodes: [{{name: here, gpus: [], cpu: {{slots: {slots}}}}}]
engines: {{sleep: {{enabled: true}}}}
"""


@pytest.mark.parametrize(
    ("before", "after", "engines"),
    [(1023, 1024, {"sleep", "llama", "whisper", "piper"}), (1, 1024, {"sleep"})],
    ids=["the same threads", "no threads of its own"],
)
def test_engine_is_kept_when_slots_of_the_processor_are_added_and_its_threads_stay(
    tmp_path: Path, before: int, after: int, engines: set[str]
) -> None:
    was, becomes = (list_wanted(LOCAL.format(slots=slots), tmp_path) for slots in (before, after))
    assert engines <= {slot.engine for slot in was.slots}
    assert not engines & {edit.after.engine for edit in compare(was, becomes).changed}


def test_wrong_options_of_engines_are_reported_all_at_once(tmp_path: Path) -> None:
    text = TWO_COMFYUIS.replace("  comfyui:\n", "  comfyui:\n    options: {reconectSeconds: 3}\n").replace(
        "  ollama:\n", "  ollama:\n    options: {no: 3}\n"
    )
    with pytest.raises(ProblemsError) as refused:
        list_wanted(text, tmp_path)
    assert len(refused.value.problems) == 2


def test_pool_names_an_instance_or_all_of_an_engine_on_a_device(tmp_path: Path) -> None:
    text = TWO_COMFYUIS.replace("gpu: 1}\n  ollama", "gpu: 0}\n  ollama").replace(
        "[elsewhere/gpu1]", "[elsewhere/gpu0/comfyui/right]"
    )
    queues = make_queues(read(text), list_wanted(text, tmp_path))
    assert queues["images"].pool == {"elsewhere/gpu0/comfyui/right"}
    assert queues["pictures"].pool == {"elsewhere/gpu0/comfyui/left", "elsewhere/gpu0/comfyui/right"}


def test_pool_of_a_queue_is_slots(tmp_path: Path) -> None:
    queues = make_queues(read(TWO_COMFYUIS), list_wanted(TWO_COMFYUIS, tmp_path))
    assert queues["images"].pool == {"elsewhere/gpu1/comfyui"}
    assert queues["one-node"].pool == {"elsewhere/gpu0/comfyui", "elsewhere/gpu0/ollama", "elsewhere/gpu1/comfyui"}
    assert queues["pictures"].pool == {"elsewhere/gpu0/comfyui"}
    assert queues["default"].pool is None


@pytest.mark.parametrize(
    ("nodes", "here"),
    [
        ([Node(name="a", address="192.0.2.1"), Node(name="b")], "b"),
        ([Node(name="a", address="192.0.2.1"), Node(name="host", address="192.0.2.2")], "host"),
        ([Node(name="a", address="192.0.2.1"), Node(name="b", address="localhost")], "b"),
        ([Node(name="a", address="192.0.2.1")], None),
    ],
)
def test_node_that_is_this_machine_is_found(nodes: list[Node], here: str | None) -> None:
    node = find_this_node(nodes, "host.example")
    assert (node.name if node else None) == here


def test_a_pod_of_the_files_kubernetes_is_none_of_its_nodes() -> None:
    in_pod = {"KUBERNETES_SERVICE_HOST": "10.43.0.1"}
    alone, deployed = read(ALL_LOCAL), read(ALL_LOCAL + "kubernetes: {}\n")
    assert find_here(deployed, in_pod) is None
    assert find_here(deployed, {}) == deployed.nodes[0]
    assert find_here(alone, in_pod) == alone.nodes[0]


ALL_LOCAL = """
apiVersion: corral/v1
name: test
nodes: [{name: pop}]
"""


def test_card_of_amd_has_slots_of_the_engines_that_use_it_and_the_processor_those_of_the_others(tmp_path: Path) -> None:
    add_pci_ids(tmp_path)
    add_amd_card(tmp_path, 0, "0000:03:00.0")

    local = localize(read(ALL_LOCAL), data_dir=tmp_path, locate=Path, root=tmp_path)

    device = next(device for device in local.wanted.devices if device.name == "pop/gpu0")
    assert (device.memory, device.visible, device.model) == (VRAM_OF_7900_XTX, "0000:03:00.0", "Radeon RX 7900 XTX")
    slots = {slot.id for slot in local.wanted.slots}
    assert {"pop/gpu0/llama", "pop/cpu0/whisper", "pop/cpu0/piper"} <= slots
    assert slots.isdisjoint({"pop/gpu0/whisper", "pop/cpu0/llama"})
    assert local.problems == ()


def test_integrated_gpu_is_no_device_unless_the_file_lists_it(tmp_path: Path) -> None:
    add_integrated_amd(tmp_path, 0, "0000:0c:00.0")
    listed = ALL_LOCAL.replace("{name: pop}", "{name: pop, gpus: [{memory: 4Gi}]}")

    alone, asked = (localize(read(text), data_dir=tmp_path, locate=Path, root=tmp_path) for text in (ALL_LOCAL, listed))

    assert {device.name for device in alone.wanted.devices} == {"pop/cpu0", "pop/cpu1"}
    assert "pop/cpu0/llama" in {slot.id for slot in alone.wanted.slots}
    assert "pop/gpu0/llama" in {slot.id for slot in asked.wanted.slots}


def test_memory_that_the_kernel_does_not_show_is_the_files(tmp_path: Path) -> None:
    add_intel(tmp_path, 0, "0000:03:00.0", driver="i915")
    text = ALL_LOCAL.replace("{name: pop}", "{name: pop, gpus: [{model: Arc A770, memory: 16Gi}]}")

    local = localize(read(text), data_dir=tmp_path, locate=Path, root=tmp_path)

    (device,) = (device for device in local.wanted.devices if device.name == "pop/gpu0")
    assert (device.memory, device.capacity, device.model) == (None, 16 * 2**30, "Arc A770")


RUN_HERE = """
apiVersion: corral/v1
name: test
nodes: [{name: pop}, {name: hydra, address: 192.0.2.7}]
engines:
  comfyui:
    instances:
      - {name: desk, node: pop, gpu: 0, run: {command: [comfy, launch], idle: 5m}}
      - {name: far, node: hydra, gpu: 0, run: {command: [comfy, launch]}}
      - {name: absent, node: pop, gpu: 1, run: {command: [comfy, launch]}}
      - {name: slow, run: {command: [comfy, launch], env: {CPU: "1"}}}
"""


def test_server_that_corral_runs_has_its_slot_on_the_gpu_of_this_machine(tmp_path: Path) -> None:
    add_pci_ids(tmp_path)
    add_amd_card(tmp_path, 0, "0000:03:00.0")

    local = localize(read(RUN_HERE), data_dir=tmp_path, locate=Path, root=tmp_path)

    slots = {slot.id: slot for slot in local.wanted.slots if slot.engine == "comfyui"}
    assert list(slots) == ["pop/gpu0/comfyui", "slow/comfyui"]
    assert slots[SlotId("pop/gpu0/comfyui")].settings["gpu"] == "0000:03:00.0"
    assert slots[SlotId("slow/comfyui")].settings["gpu"] is None


def test_server_that_corral_cannot_run_here_is_reported_and_has_no_slot(tmp_path: Path) -> None:
    add_pci_ids(tmp_path)
    add_amd_card(tmp_path, 0, "0000:03:00.0")

    problems = localize(read(RUN_HERE), data_dir=tmp_path, locate=Path, root=tmp_path).problems

    assert [(problem.code, problem.where) for problem in problems] == [
        ("machine.other_node", "engines.comfyui.instances[far]"),
        ("machine.gpu_absent", "engines.comfyui.instances[absent]"),
    ]
    assert "for node 'hydra', and this machine is 'pop'" in problems[0].what


def test_edited_run_makes_another_slot_and_says_what_differs(tmp_path: Path) -> None:
    before, after = (
        list_wanted(text, tmp_path) for text in (RUN_HERE, RUN_HERE.replace('env: {CPU: "1"}', "idle: never, port: 9"))
    )

    (change,) = compare(before, after).changed

    assert change.after.id == "slow/comfyui"
    assert set(change.what) == {"run.env.CPU: 1 -> not set", "run.idle: 15m 00s -> not set", "run.port: not set -> 9"}
