"""Evidence from Kubernetes, from Corral's queue and from GPUs, as a checklist reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from corral.figures import computed
from corral.kubernetes import Kubectl, Ran
from corral.operations.checklist import gpu_looks, looking
from corral.operations.checklist.looking import Tools, look
from corral.operations.checklist.machines import Machines, NodeCards, read_smi
from corral.operations.checklist.values import Status, UnlookedError
from corral.planning.checklist.probes import (
    AllBusyAtOnce,
    ConfigurationRendered,
    DriverSuits,
    GpuPodsAlive,
    GpusDetected,
    LabelsOnNode,
    LimitsPersist,
    LoadTested,
    NodeReady,
    PowerLimitsSet,
    QueueEmpty,
    QueuePools,
    ReplicasReady,
    SlotsKnown,
    ThroughputReached,
    WantedGpu,
)
from corral.telemetry.loadtest.running import LoadTest

NODE: dict[str, Any] = {
    "metadata": {"labels": {"a/b": "1", "a/old": "x"}},
    "spec": {},
    "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"nvidia.com/gpu": "2"}},
}
SMI = """\
0, NVIDIA GeForce RTX 5070 Ti, 16303, 580.95.05, 250.00, 250.00, 350.00, Enabled, 8, 16, 1, 5
1, NVIDIA GeForce RTX 5070 Ti, 16303, 580.95.05, 300.00, 250.00, 350.00, Disabled, 4, 16, 1, 5
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build
"""
"""In the format of `nvidia-smi --query-gpu=... --format=csv,noheader,nounits`, as its documentation has it."""


class Said:
    """Stands for programs: kubectl, ssh, systemctl. Answers by the first words that fit; remembers what was run.

    Exit codes are those of the real ones: kubectl 1 for an error, ssh 255 for its own.
    """

    def __init__(self, answers: Mapping[str, Ran | dict[str, Any]]) -> None:
        self._answers = answers
        self.lines: list[str] = []

    def run(self, argv: tuple[str, ...], *, deadline_s: float) -> Ran:
        line = " ".join(argv)
        self.lines.append(line)
        for beginning, answer in self._answers.items():
            if line.startswith(beginning):
                return answer if isinstance(answer, Ran) else Ran(exit_code=0, out=json.dumps(answer), errors="")
        raise UnlookedError(f"{argv[0]} cannot be run: No such file or directory")

    def stream(self, line: str) -> Ran:
        raise AssertionError(f"a look runs no command: {line}")


class Server:
    """Stands for Corral's HTTP API: its answers by path, in the shape of docs/reference."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def get(self, path: str) -> Any:
        return self._answers[path]


class NoLoadTests:
    """Stands where no load test may begin."""

    def test(self, gpus: tuple[int, ...], seconds: float) -> LoadTest:
        raise AssertionError("a load test began")


def over_ssh(text: str = SMI, exit_code: int = 0, errors: str = "") -> Machines:
    shell = Said({"ssh": Ran(exit_code=exit_code, out=text, errors=errors)})
    return Machines([("box", "10.0.0.7")], shell, hostname="desk")


def test_a_node_is_ready_with_all_its_gpus_and_open() -> None:
    probe = NodeReady(node="box", gpus=2)

    assert looking.check_node_ready(probe, Kubectl(Said({"kubectl get node box": NODE}))).status is Status.DONE
    closed = NODE | {"spec": {"unschedulable": True}}
    assert looking.check_node_ready(probe, Kubectl(Said({"kubectl": closed}))).status is Status.FAILED
    fewer = looking.check_node_ready(NodeReady(node="box", gpus=3), Kubectl(Said({"kubectl": NODE})))
    assert (fewer.status, fewer.what) == (Status.FAILED, "Ready, 2 allocatable nvidia.com/gpu")


def test_a_label_that_stayed_is_told() -> None:
    probe = LabelsOnNode(node="box", labels=(("a/b", "2"), ("a/new", "y")), gone=("a/old", "a/never"))

    seen = looking.check_labels(probe, Kubectl(Said({"kubectl": NODE})))

    assert seen.status is Status.FAILED
    assert seen.what == "a/b is '1', wanted '2'; a/new is missing; a/old=x is still there"


def a_pod(name: str, **limits: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "resources": {"limits": {key.replace("_", "/"): value for key, value in limits.items()}},
    }
    return {"metadata": {"name": name, "namespace": "ai"}, "spec": {"containers": [container]}}


def test_a_pod_that_lost_its_gpu_is_named_and_pods_without_one_are_left_alone() -> None:
    pods = {"items": [a_pod("good", **{"nvidia.com_gpu": "1"}), a_pod("bad", **{"nvidia.com_gpu": "1"}), a_pod("web")]}
    lost = Ran(exit_code=1, out="Failed to initialize NVML: Unknown Error\n", errors="")
    shell = Said(
        {
            "kubectl get pods": pods,
            "kubectl -n ai exec good": Ran(exit_code=0, out="GPU 0: NVIDIA GeForce", errors=""),
            "kubectl -n ai exec bad": lost,
        }
    )

    seen = looking.check_gpu_pods(GpuPodsAlive(node="box"), Kubectl(shell))

    assert (seen.status, seen.what) == (Status.FAILED, "ai/bad: Failed to initialize NVML: Unknown Error")
    assert not any("exec web" in line for line in shell.lines)


def test_containers_that_claim_a_gpu_have_to_reach_it_too() -> None:
    pod = a_pod("claims")
    pod["spec"]["containers"][0]["resources"] = {"claims": [{"name": "gpus"}]}
    lost = Ran(exit_code=1, out="", errors="no devices were found\n")
    shell = Said({"kubectl get pods": {"items": [pod]}, "kubectl -n ai exec claims": lost})

    assert looking.check_gpu_pods(GpuPodsAlive(node="box"), Kubectl(shell)).what == "ai/claims: no devices were found"


def a_slice(generation: int, *types: str) -> Any:
    devices = [{"name": f"d{i}", "attributes": {"type": {"string": kind}}} for i, kind in enumerate(types)]
    return {"spec": {"pool": {"name": "box", "generation": generation}, "devices": devices}}


def test_where_gpus_are_claimed_those_that_the_driver_offers_are_counted() -> None:
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "spec": {}}
    slices = "kubectl get resourceslices --field-selector=spec.nodeName=box,spec.driver=gpu.nvidia.com"
    offered = {"items": [a_slice(1, "gpu"), a_slice(2, "gpu", "gpu", "mig")]}
    kubectl = Kubectl(Said({"kubectl get node box": ready, slices: offered}))

    seen = looking.check_node_ready(NodeReady(node="box", gpus=2, by_claim=True), kubectl)

    assert (seen.status, seen.what) == (Status.DONE, "Ready, 2 GPUs to claim")
    assert looking.check_node_ready(NodeReady(node="box", gpus=3, by_claim=True), kubectl).status is Status.FAILED


def test_replicas_that_are_pending_are_counted() -> None:
    shell = Said({"kubectl get statefulset comfyui -n ai": {"status": {"replicas": 2, "readyReplicas": 1}}})

    probe = ReplicasReady(kind="StatefulSet", name="comfyui", namespace="ai", replicas=2)

    seen = looking.check_replicas(probe, Kubectl(shell))

    assert (seen.status, seen.what) == (Status.FAILED, "1 of 2 replicas ready, 2 wanted")


@pytest.mark.parametrize(
    "shell",
    [
        Said({}),
        Said({"kubectl": Ran(exit_code=1, out="", errors="The connection to the server was refused\n")}),
        Said({"kubectl": Ran(exit_code=0, out="<html>", errors="")}),
    ],
)
def test_kubectl_that_cannot_tell_is_unknown_and_not_failed(shell: Said) -> None:
    tools = Tools(machines=over_ssh(), shell=shell, queue=Server({}), load_tester=NoLoadTests(), rendered=Path())

    assert look(NodeReady(node="box", gpus=1), tools).status is Status.UNKNOWN


def test_slots_queues_and_what_runs_are_compared_with_the_server() -> None:
    running = {"task": 7}
    server = Server(
        {
            "/corral/v1/slots": {
                "items": [
                    {"id": "box/gpu0/comfyui", "running": running},
                    {"id": "box/gpu0/llama", "running": None},
                    {"id": "box/gpu1/comfyui", "running": None},
                ]
            },
            "/corral/v1/queues": {
                "items": [{"name": "pool", "pool": ["box/gpu0"], "states": {"queued": 3, "running": 0}}]
            },
        }
    )
    both = ("box/gpu0", "box/gpu1")

    assert looking.check_slots(SlotsKnown(slots=both, gone=("box/gpu2",)), server).status is Status.DONE
    assert looking.check_slots(SlotsKnown(slots=("box/gpu9",), gone=("box/gpu0",)), server).what == (
        "box/gpu9 is missing; box/gpu0 is still there"
    )
    assert looking.check_pools(QueuePools(pools=(("pool", both),)), server).what == "pool has box/gpu0"
    assert looking.check_queue_empty(QueueEmpty(queue="pool"), server).what == "it holds 3 queued"
    assert looking.check_queue_empty(QueueEmpty(queue="gone"), server).status is Status.DONE
    busy = looking.check_all_busy(AllBusyAtOnce(slots=both), server)
    assert (busy.status, busy.what) == (Status.FAILED, "nothing runs on box/gpu1 in this moment")
    assert looking.check_all_busy(AllBusyAtOnce(slots=("box/gpu0",)), server).what == "box/gpu0 runs task 7"


def throughput(*seconds: float) -> Any:
    tasks = [
        {
            "slots": ["box/gpu0/comfyui"],
            "started_at": "2026-01-01T00:00:00+00:00",
            "finished_at": f"2026-01-01T00:00:{duration_s:06.3f}+00:00",
        }
        for duration_s in seconds
    ]
    query = "/corral/v1/tasks?state=succeeded&engine=comfyui&slot=box%2Fgpu0&limit=20"
    probe = ThroughputReached(
        workload="images",
        engine="comfyui",
        slots=("box/gpu0",),
        unit="image",
        per_hour=computed(120, "images/h", "3600 s / 30 s"),
    )
    return looking.check_throughput(probe, Server({query: {"items": tasks}}))


def test_measured_throughput_is_compared_with_the_forecast() -> None:
    assert throughput(30, 32).status is Status.DONE
    assert throughput(45, 45).status is Status.FAILED
    assert "80 images an hour, 67% of 120" in throughput(45, 45).what
    assert throughput().status is Status.UNKNOWN


def test_cards_of_another_machine_are_read_over_ssh() -> None:
    cards = over_ssh().gpus("box")

    assert (cards.machine, cards.driver) == ("10.0.0.7", "580.95.05")
    assert [gpu.power_limit_w for gpu in cards.gpus] == [250, 300]
    assert cards.persistent == {0: True, 1: False}
    assert "Open Kernel Module" in (cards.module or "")


def test_a_card_on_too_few_lanes_or_of_another_model_is_not_detected() -> None:
    wanted = (
        WantedGpu(index=0, model="RTX 5070 Ti", memory=None),
        WantedGpu(index=1, model="RTX 5090", memory=None),
        WantedGpu(index=2, model=None, memory=None),
    )

    seen = gpu_looks.check_detected(GpusDetected(node="box", gpus=wanted), over_ssh())

    assert seen.status is Status.FAILED
    assert "GPU 1 is NVIDIA GeForce RTX 5070 Ti, wanted RTX 5090" in seen.what
    assert "GPU 1 has 4 PCIe lanes of 16" in seen.what
    assert "no GPU 2; the driver has 2" in seen.what
    assert "GPU 0" not in seen.what


def test_a_limit_that_was_lost_is_told_with_the_range() -> None:
    seen = gpu_looks.check_limits_set(PowerLimitsSet(node="box", limits_w=((0, 250), (1, 250))), over_ssh())

    assert seen.status is Status.FAILED
    assert "GPU 1 is limited to 300 W (it takes 250 to 350 W), wanted 250 W" in seen.what


@pytest.mark.parametrize(
    ("first_driver", "last_branch", "module", "status"),
    [
        ((570, 26), None, "Open Kernel Module", Status.DONE),
        ((570, 26), None, "Kernel Module", Status.FAILED),
        ((600, 0), None, "Open Kernel Module", Status.FAILED),
        ((570, 26), 570, "Open Kernel Module", Status.FAILED),
    ],
)
def test_the_driver_has_to_be_new_enough_and_of_the_right_kind(
    first_driver: tuple[int, int], last_branch: int | None, module: str, status: Status
) -> None:
    probe = DriverSuits(node="box", first_driver=first_driver, last_branch=last_branch, open_modules=True)

    assert gpu_looks.check_driver(probe, over_ssh(SMI.replace("Open Kernel Module", module))).status is status


UNITS = """\
Id=ssh.service
ExecStart={ path=/usr/bin/sshd ; argv[]=/usr/bin/sshd -D }
ActiveState=active
UnitFileState=enabled

ExecStart={ path=/usr/bin/nvidia-smi ; argv[]=/usr/bin/nvidia-smi -i 0 -pl 250 ; ignore_errors=no }
ExecStart={ path=/usr/bin/nvidia-smi ; argv[]=/usr/bin/nvidia-smi -i 1 -pl 250 ; ignore_errors=no }
Id=gpu-power-limits.service
ActiveState=active
UnitFileState=enabled
"""
"""As systemd 255 prints it: a block for each unit, a line for each command of it."""


def test_a_unit_that_sets_limits_has_to_be_enabled() -> None:
    probe = LimitsPersist(node="box")

    assert gpu_looks.check_limits_persist(probe, over_ssh(UNITS)).what == "gpu-power-limits.service is enabled, active"
    off = UNITS.replace("active\nUnitFileState=enabled\n", "active\nUnitFileState=disabled\n")
    assert gpu_looks.check_limits_persist(probe, over_ssh(off)).status is Status.FAILED
    assert gpu_looks.check_limits_persist(probe, over_ssh(UNITS.partition("\n\n")[0])).status is Status.FAILED


def test_the_unit_that_is_rendered_for_nixos_is_known_by_its_name() -> None:
    script = "/nix/store/abc-unit-script-gpu-power-limit-start/bin/gpu-power-limit-start"
    unit = f"Id=gpu-power-limit.service\nExecStart={{ path={script} ; argv[]={script} }}\nActiveState=active\n"

    seen = gpu_looks.check_limits_persist(LimitsPersist(node="box"), over_ssh(unit + "UnitFileState=enabled\n"))

    assert (seen.status, seen.what) == (Status.DONE, "gpu-power-limit.service is enabled, active")


def test_ssh_that_fails_is_unknown() -> None:
    tools = Tools(
        machines=over_ssh("", 255, "No route to host\n"),
        shell=Said({}),
        queue=Server({}),
        load_tester=NoLoadTests(),
        rendered=Path(),
    )

    seen = look(LimitsPersist(node="box"), tools)

    assert seen.status is Status.UNKNOWN
    assert "No route to host" in seen.what


def test_another_node_of_the_file_without_an_address_is_not_taken_for_this_machine() -> None:
    machines = Machines([("box", None), ("desk", None)], Said({}), hostname="desk.lan")
    tools = Tools(machines=machines, shell=Said({}), queue=Server({}), load_tester=NoLoadTests(), rendered=Path())

    seen = look(LoadTested(node="box", gpus=(0,), seconds=1), tools)

    assert seen.status is Status.UNKNOWN
    assert "this machine is desk" in seen.what


def test_values_that_nvidia_smi_does_not_give_are_unknown() -> None:
    cards: NodeCards = read_smi(
        "0, NVIDIA GB10, [N/A], 580.1, [N/A], [N/A], [N/A], Enabled, [N/A], [N/A], [N/A], [N/A]", "x"
    )

    (gpu,) = cards.gpus
    assert (gpu.memory_total, gpu.power_limit_w, gpu.power_limit_range_w, gpu.pcie) == (None, None, None, None)


def test_a_rendered_file_is_compared_without_the_line_that_names_its_cluster_file(tmp_path: Path) -> None:
    (tmp_path / "nixos").mkdir()
    file = tmp_path / "nixos" / "box.nix"
    probe = ConfigurationRendered(path="nixos/box.nix", text="# from new.yaml (sha256:2)\n{ a = 1; }\n")
    tools = Tools(machines=over_ssh(), shell=Said({}), queue=Server({}), load_tester=NoLoadTests(), rendered=tmp_path)

    missing = look(probe, tools)
    file.write_text("# from old.yaml (sha256:1)\n{ a = 2; }\n")
    other = look(probe, tools)
    file.write_text("# from old.yaml (sha256:1)\n{ a = 1; }\n")
    same = look(probe, tools)

    assert [evidence.status for evidence in (missing, other, same)] == [Status.FAILED, Status.FAILED, Status.DONE]
    assert "first: - { a = 2; }; run `corral render NEW" in other.what
