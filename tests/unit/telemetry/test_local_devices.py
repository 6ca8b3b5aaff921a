"""The devices of a machine, from the cluster file and what was found."""

from __future__ import annotations

from corral.cluster.values import Gpu, Node
from corral.telemetry.devices import CPU_MEMORY_SHARE, list_local_devices
from corral.telemetry.machine import Machine
from corral.telemetry.nvml import FoundGpu, GpuState
from corral.units import Bytes

GIB = 2**30


def a_machine(*, cores: int = 8, memory: int = 32 * GIB) -> Machine:
    return Machine(
        hostname="here",
        cpu_model="A Processor",
        cpu_cores=cores,
        memory_total=Bytes(memory),
        memory_available=Bytes(memory),
        disk_free=Bytes(100 * GIB),
        nvidia_gpus=0,
    )


def a_gpu(index: int = 0, *, name: str = "NVIDIA GeForce RTX 5070 Ti", state: GpuState = GpuState.OK) -> FoundGpu:
    return FoundGpu(
        index=index,
        state=state,
        uuid=f"GPU-{index}",
        name=name,
        memory_total=Bytes(16 * GIB),
        memory_used=Bytes(GIB),
        problem=None if state is GpuState.OK else "GPU is lost",
    )


def test_each_found_gpu_is_a_device_named_after_the_node_and_bound_by_uuid() -> None:
    made = list_local_devices(Node(name="pop"), [a_gpu(0), a_gpu(1)], a_machine())

    assert [device.spec.name for device in made.devices] == ["pop/gpu0", "pop/gpu1"]
    assert [device.spec.provider for device in made.devices] == ["pop/GPU-0", "pop/GPU-1"]
    assert [device.spec.visible for device in made.devices] == ["GPU-0", "GPU-1"]
    assert {device.spec.model for device in made.devices} == {"RTX 5070 Ti"}
    assert made.problems == ()


def test_what_others_hold_of_a_gpu_is_not_offered_to_tasks() -> None:
    (device,) = list_local_devices(Node(name="pop"), [a_gpu()], a_machine()).devices

    assert device.spec.capacity == 15 * GIB


def test_the_file_may_give_less_of_a_gpu_than_it_has() -> None:
    node = Node(name="pop", gpus=(Gpu(index=0, memory=Bytes(8 * GIB)),))

    (device,) = list_local_devices(node, [a_gpu()], a_machine()).devices

    assert device.spec.capacity == 8 * GIB


def test_a_gpu_of_unknown_memory_has_unknown_capacity() -> None:
    gpu = FoundGpu(index=0, uuid="GPU-0", name="NVIDIA GB10")

    (device,) = list_local_devices(Node(name="spark"), [gpu], a_machine()).devices

    assert device.spec.capacity is None
    assert device.spec.model == "GB10"


def test_a_machine_without_a_gpu_gets_two_devices_that_share_its_processor_and_memory() -> None:
    first, second = list_local_devices(Node(name="pop"), [], a_machine(cores=8, memory=32 * GIB)).devices

    assert (first.spec.name, second.spec.name) == ("pop/cpu0", "pop/cpu1")
    assert (first.threads, second.threads) == (4, 4)
    assert first.spec.capacity == int(32 * GIB * CPU_MEMORY_SHARE) // 2
    assert first.spec.provider != second.spec.provider
    assert first.spec.model == "cpu"


def test_one_core_gets_one_device_with_one_thread() -> None:
    (device,) = list_local_devices(Node(name="pop"), [], a_machine(cores=1)).devices

    assert (device.spec.name, device.threads) == ("pop/cpu0", 1)


def test_the_file_decides_how_many_cpu_devices_there_are() -> None:
    made = list_local_devices(Node(name="pop", cpu_slots=5), [], a_machine(cores=4))

    assert len(made.devices) == 5
    assert {device.threads for device in made.devices} == {1}


def test_a_file_that_wants_no_cpu_devices_gets_none() -> None:
    assert list_local_devices(Node(name="pop", cpu_slots=0), [], a_machine()).devices == ()


def test_cpu_devices_next_to_a_gpu_come_on_request_only_and_see_no_gpu() -> None:
    without = list_local_devices(Node(name="pop"), [a_gpu()], a_machine())
    asked = list_local_devices(Node(name="pop", cpu_slots=1), [a_gpu()], a_machine())

    assert [device.spec.name for device in without.devices] == ["pop/gpu0"]
    assert [device.spec.name for device in asked.devices] == ["pop/gpu0", "pop/cpu0"]
    assert asked.devices[1].spec.visible is None


def test_a_file_that_says_no_gpus_uses_the_processor_although_there_is_one() -> None:
    made = list_local_devices(Node(name="pop", gpus=()), [a_gpu()], a_machine())

    assert [device.spec.name for device in made.devices] == ["pop/cpu0", "pop/cpu1"]


def test_a_gpu_that_the_file_lists_and_is_not_found_is_a_problem_with_a_hint() -> None:
    node = Node(name="pop", gpus=(Gpu(index=0), Gpu(index=1)))

    made = list_local_devices(node, [a_gpu(0)], a_machine())

    assert [device.spec.name for device in made.devices] == ["pop/gpu0"]
    (problem,) = made.problems
    assert problem.code == "machine.gpu_absent"
    assert problem.what == "the cluster file lists GPU 1 and 1 GPU was found"
    assert problem.where == "nodes[pop].gpus"
    assert problem.hint


def test_missing_gpus_are_not_replaced_by_the_processor() -> None:
    made = list_local_devices(Node(name="pop", gpus=(Gpu(index=0),)), [], a_machine())

    assert made.devices == ()
    assert [problem.code for problem in made.problems] == ["machine.gpu_absent"]


def test_a_lost_gpu_gives_no_device_and_the_reason() -> None:
    made = list_local_devices(Node(name="pop"), [a_gpu(0), a_gpu(1, state=GpuState.LOST)], a_machine())

    assert [device.spec.name for device in made.devices] == ["pop/gpu0"]
    assert [(problem.code, problem.where) for problem in made.problems] == [("machine.gpu_lost", "pop/gpu1")]


def test_a_machine_whose_only_gpu_is_lost_has_no_devices() -> None:
    assert list_local_devices(Node(name="pop"), [a_gpu(state=GpuState.LOST)], a_machine()).devices == ()


def test_another_model_than_the_file_says_is_a_problem_and_is_used_as_what_it_is() -> None:
    node = Node(name="pop", gpus=(Gpu(index=0, model="RTX 4090"),))

    made = list_local_devices(node, [a_gpu()], a_machine())

    assert made.devices[0].spec.model == "RTX 5070 Ti"
    (problem,) = made.problems
    assert problem.code == "machine.gpu_model_differs"
    assert problem.what == "the cluster file says 'RTX 4090' and the driver says 'RTX 5070 Ti'"
    assert problem.where == "nodes[pop].gpus[0]"


def test_ways_to_write_the_same_model_are_no_difference() -> None:
    for spelling in ("RTX 5070 Ti", "geforce rtx 5070 ti", "NVIDIA GeForce RTX 5070 Ti", "5070ti"):
        node = Node(name="pop", gpus=(Gpu(index=0, model=spelling),))

        assert list_local_devices(node, [a_gpu()], a_machine()).problems == (), spelling


def test_a_card_with_less_memory_than_the_file_says_is_a_problem_that_gives_both() -> None:
    node = Node(name="pop", gpus=(Gpu(index=0, memory=Bytes(24 * GIB)),))

    (problem,) = list_local_devices(node, [a_gpu()], a_machine()).problems

    assert problem.code == "machine.gpu_memory_differs"
    assert problem.what == "the cluster file says 24.0 GiB and the GPU has 16.0 GiB"


def test_a_uuid_in_the_file_finds_its_card_wherever_it_is_plugged_in() -> None:
    node = Node(name="pop", gpus=(Gpu(index=0, uuid="GPU-1"),))

    (device,) = list_local_devices(node, [a_gpu(0), a_gpu(1)], a_machine()).devices

    assert (device.spec.name, device.spec.visible) == ("pop/gpu0", "GPU-1")


def test_pci_id_of_several_models_is_the_one_that_the_file_names() -> None:
    name = "AMD Radeon RX 9070/9070 XT/9070 GRE"
    card = FoundGpu(index=0, maker="AMD", pci="0000:03:00.0", name=name, memory_total=Bytes(16 * GIB))
    node = Node(name="pop", gpus=(Gpu(index=0, model="RX 9070 XT"),))

    named, unnamed = (list_local_devices(given, [card], a_machine()) for given in (node, Node(name="pop")))

    assert named.devices[0].spec.model == "RX 9070 XT"
    assert named.problems == ()
    assert unnamed.devices[0].spec.model == "Radeon RX 9070/9070 XT/9070 GRE"
