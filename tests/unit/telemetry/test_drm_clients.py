"""Clients of AMD's and Intel's GPUs from trees of /proc in the kernel's own words.

Sources of the words: https://docs.kernel.org/gpu/drm-usage-stats.html (units, `resident`, `memory`, ids of clients);
amdgpu_fdinfo.c of Linux 6.9 (`drm-memory-vram` in KiB, next to `amd-*` keys) and 6.13 (`drm-resident-vram` too); an Arc
A310 under i915 of Linux 6.8 (`local0`, `stolen-local0`, `capacity`); xe_drm_client.c (`vram0`, cycles).
"""

from __future__ import annotations

from pathlib import Path

from corral.telemetry.drm_clients import LOOK_AGAIN_S, DrmClients, parse_fdinfo

MIB = 2**20
CARD, OTHER = "0000:03:00.0", "0000:06:00.0"
AMDGPU_OLD = f"""\
pos:	0
flags:	02100002
mnt_id:	26
ino:	640
pasid:	32785
drm-driver:	amdgpu
drm-pdev:	{CARD}
drm-client-id:	184
drm-memory-vram:	1048576 KiB
drm-memory-gtt: 	20480 KiB
drm-memory-cpu: 	0 KiB
amd-memory-visible-vram:	262144 KiB
amd-evicted-vram:	0 KiB
amd-requested-vram:	1048576 KiB
drm-engine-gfx:	4000000000 ns
drm-engine-compute:	1000000000 ns
"""
AMDGPU_NEW = f"""\
drm-driver:	amdgpu
drm-client-id:	185
drm-pdev:	{CARD}
pasid:	32786
drm-total-vram:	60060 KiB
drm-shared-vram:	0
drm-resident-vram:	59 MiB
drm-purgeable-vram:	0
drm-memory-vram:	60060 KiB
drm-memory-gtt: 	2048 KiB
drm-engine-gfx:	123456789 ns
"""
I915 = f"""\
pos:	0
drm-driver:	i915
drm-client-id:	36
drm-pdev:	{OTHER}
drm-total-local0:	2700188 KiB
drm-shared-local0:	32 MiB
drm-resident-local0:	2698140 KiB
drm-resident-stolen-local0:	64 KiB
drm-resident-system0:	520 KiB
drm-engine-render:	52044119560 ns
drm-engine-copy:	0 ns
drm-engine-video:	7 ns
drm-engine-capacity-video:	2
drm-engine-compute:	0 ns
"""
XE = """\
drm-driver:	xe
drm-client-id:	9
drm-pdev:	0000:0A:00.0
drm-total-vram0:	4096 MiB
drm-resident-vram0:	4194304 KiB
drm-resident-gtt:	2 MiB
drm-resident-stolen:	64 KiB
drm-cycles-rcs:	{cycles}
drm-total-cycles-rcs:	{total}
drm-cycles-ccs:	0
drm-total-cycles-ccs:	{total}
drm-maxfreq-rcs:	2100 MHz
"""


def write(root: Path, pid: int, number: int, text: str, target: str = "/dev/dri/renderD128") -> None:
    process = root / "proc" / str(pid)
    (process / "fd").mkdir(parents=True, exist_ok=True)
    (process / "fdinfo").mkdir(exist_ok=True)
    link = process / "fd" / str(number)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    (process / "fdinfo" / str(number)).write_text(text)


def test_memory_on_the_card_is_read_in_the_words_of_each_driver() -> None:
    sizes = [
        (client.pci, client.memory)
        for text in (AMDGPU_OLD, AMDGPU_NEW, I915, XE.format(cycles=0, total=0))
        if (client := parse_fdinfo(text)) is not None
    ]

    assert sizes == [(CARD, 1024 * MIB), (CARD, 59 * MIB), (OTHER, 2698140 * 1024), ("0000:0a:00.0", 4096 * MIB)]


def test_file_that_is_no_gpu_client_is_none() -> None:
    assert parse_fdinfo("pos:\t0\nflags:\t02\nmnt_id:\t26\n") is None


def test_client_without_memory_on_the_card_is_unknown_rather_than_empty() -> None:
    client = parse_fdinfo(
        "drm-driver:\ti915\ndrm-pdev:\t0000:00:02.0\ndrm-client-id:\t3\ndrm-resident-system0:\t8 MiB\n"
    )

    assert client is not None
    assert client.memory is None


def test_copies_of_a_file_count_once_in_a_process_and_between_processes(tmp_path: Path) -> None:
    for pid, number in ((500, 5), (500, 6), (501, 5)):
        write(tmp_path, pid, number, AMDGPU_OLD)
    write(tmp_path, 501, 9, AMDGPU_NEW)

    (first, second) = DrmClients(tmp_path).list_processes([CARD], 0)[CARD]

    assert (first.pid, first.memory) == (500, 1024 * MIB)
    assert (second.pid, second.memory) == (501, 59 * MIB)


def test_clients_are_told_apart_by_card(tmp_path: Path) -> None:
    write(tmp_path, 500, 5, AMDGPU_OLD)
    write(tmp_path, 500, 6, I915)

    listed = DrmClients(tmp_path).list_processes([CARD, OTHER], 0)

    assert [process.memory for process in listed[CARD]] == [1024 * MIB]
    assert [process.memory for process in listed[OTHER]] == [2698140 * 1024]


def test_share_of_the_time_follows_from_two_looks(tmp_path: Path) -> None:
    clients = DrmClients(tmp_path)
    write(tmp_path, 500, 5, AMDGPU_OLD)
    write(tmp_path, 600, 5, XE.format(cycles=1_000, total=10_000))

    first = clients.list_processes([CARD, "0000:0a:00.0"], 0)
    write(tmp_path, 500, 5, AMDGPU_OLD.replace("4000000000 ns", "5000000000 ns"))
    write(tmp_path, 600, 5, XE.format(cycles=1_750, total=11_000))
    second = clients.list_processes([CARD, "0000:0a:00.0"], 2)

    assert first[CARD][0].busy is None
    assert second[CARD][0].busy == 0.5
    assert second["0000:0a:00.0"][0].busy == 0.75


def test_process_that_opens_a_gpu_later_is_seen_within_the_bound_and_a_new_one_at_once(tmp_path: Path) -> None:
    clients = DrmClients(tmp_path)
    write(tmp_path, 500, 5, "", target="/dev/null")
    assert clients.list_processes([CARD], 0)[CARD] == []

    write(tmp_path, 500, 5, AMDGPU_OLD)
    write(tmp_path, 501, 5, AMDGPU_NEW)
    soon = clients.list_processes([CARD], 2)[CARD]
    later = clients.list_processes([CARD], LOOK_AGAIN_S)[CARD]

    assert [process.pid for process in soon] == [501]
    assert [process.pid for process in later] == [500, 501]


def test_process_that_has_ended_is_not_listed(tmp_path: Path) -> None:
    clients = DrmClients(tmp_path)
    write(tmp_path, 500, 5, AMDGPU_OLD)
    clients.list_processes([CARD], 0)

    (tmp_path / "proc/500").rename(tmp_path / "ended")

    assert clients.list_processes([CARD], 2)[CARD] == []
