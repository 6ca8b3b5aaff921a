"""AMD's and Intel's GPUs as the sampler sees them, from trees of /sys and /proc in the kernel's words."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from corral.telemetry.gpu_watch import GpuWatch
from corral.telemetry.ownership import Own, find_container

GIB = 2**30
CARD = "0000:03:00.0"
FDINFO = "drm-driver:\t{driver}\ndrm-pdev:\t{pci}\ndrm-client-id:\t{client}\n{memory}\n"
STAT = "{pid} ({name}) S {parent} 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0"
STATUS = "Name:\t{name}\nUid:\t{user}\t{user}\t{user}\t{user}\n"
DOCKER = "0::/system.slice/docker-" + "ab" * 32 + ".scope\n"


def add_card(root: Path, *, vendor: str, driver: str, **files: str) -> None:
    device = root / "sys/class/drm/card0/device"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "uevent").write_text(f"DRIVER={driver}\nPCI_SLOT_NAME={CARD}\n")
    for name, text in files.items():
        path = device / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")


def add_process(
    root: Path, pid: int, name: str, memory: str, *, driver: str = "amdgpu", parent: int = 1, cgroup: str = "0::/\n"
) -> None:
    folder = root / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "fdinfo").mkdir()
    (folder / "fd/5").symlink_to("/dev/dri/renderD128")
    (folder / "fdinfo/5").write_text(FDINFO.format(driver=driver, pci=CARD, client=pid, memory=memory))
    (folder / "stat").write_text(STAT.format(pid=pid, name=name, parent=parent, start=pid * 100))
    (folder / "status").write_text(STATUS.format(name=name, user=os.geteuid()))
    (folder / "comm").write_text(f"{name[:15]}\n")
    (folder / "cmdline").write_text(f"Z:\\games\\{name}\0--full\0")
    (folder / "cgroup").write_text(cgroup)


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(server=100, logs=tmp_path / "logs", containers=frozenset({"ab" * 32}))


def test_memory_of_others_on_an_amd_card_is_told_from_the_servers_own(tmp_path: Path, own: Own) -> None:
    add_card(
        tmp_path, vendor="0x1002", driver="amdgpu", mem_info_vram_total=str(16 * GIB), mem_info_vram_used=str(11 * GIB)
    )
    add_process(tmp_path, 100, "corral", "drm-memory-vram:\t0 KiB")
    add_process(tmp_path, 200, "llama-server", "drm-memory-vram:\t2097152 KiB", parent=100)
    add_process(tmp_path, 300, "a-game-with-a-long-name.exe", "drm-resident-vram:\t8 MiB\ndrm-memory-vram:\t9 MiB")

    use = GpuWatch(tmp_path).look(own, 0).uses[CARD]

    assert (use.total, use.used, use.own) == (16 * GIB, 11 * GIB, 2 * GIB)
    (game,) = use.programs
    assert (game.name, game.memory) == ("a-game-with-a-long-name.exe", 8 * 2**20)
    assert "a-game-with-a-l" in game.aliases
    assert use.measure_foreign(0, all_reported=0) == 9 * GIB


def test_used_memory_of_an_intel_card_is_what_its_clients_hold(tmp_path: Path, own: Own) -> None:
    add_card(tmp_path, vendor="0x8086", driver="xe", tile0__physical_vram_size_bytes=hex(12 * GIB))
    add_process(tmp_path, 300, "game", "drm-resident-vram0:\t3145728 KiB", driver="xe")

    use = GpuWatch(tmp_path).look(own, 0).uses[CARD]

    assert (use.total, use.used, use.own) == (12 * GIB, 3 * GIB, 0)


def test_container_that_the_server_started_is_its_own_and_another_is_named(tmp_path: Path, own: Own) -> None:
    add_card(tmp_path, vendor="0x1002", driver="amdgpu", mem_info_vram_total=str(16 * GIB), mem_info_vram_used="0")
    add_process(tmp_path, 300, "python3", "drm-memory-vram:\t1 MiB", cgroup=DOCKER)
    add_process(tmp_path, 301, "python3", "drm-memory-vram:\t2 MiB", cgroup=DOCKER.replace("ab", "cd"))

    use = GpuWatch(tmp_path).look(own, 0).uses[CARD]

    assert use.own == 2**20
    assert [program.name for program in use.programs] == ["python3 in container cdcdcdcdcdcd"]


def test_card_that_the_kernel_does_not_list_any_more_is_a_problem(tmp_path: Path, own: Own) -> None:
    add_card(tmp_path, vendor="0x1002", driver="amdgpu", mem_info_vram_total=str(16 * GIB), mem_info_vram_used="0")
    watch = GpuWatch(tmp_path)
    assert watch.look(own, 0).uses[CARD].problem is None

    shutil.rmtree(tmp_path / "sys/class/drm/card0")

    assert watch.look(own, 2).uses[CARD].problem == "the kernel does not list it any more"


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (DOCKER, "ab" * 32),
        (
            f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{'cd' * 32}.scope/container\n",
            "cd" * 32,
        ),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{'ef' * 32}.scope\n", "ef" * 32),
        (f"12:devices:/docker/{'12' * 32}\n0::/\n", "12" * 32),
        ("0::/system.slice/ollama.service\n", None),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
    ],
)
def test_container_is_read_from_the_control_groups_of_each_program(cgroup: str, container: str | None) -> None:
    assert find_container(cgroup) == container
