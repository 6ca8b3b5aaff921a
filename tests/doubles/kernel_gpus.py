"""Trees of /sys as the kernel shows GPUs of AMD and Intel.

Files and formats are those of the kernel's documentation (amdgpu's `mem_info_vram_*` in bytes, the header of
`gpu_metrics`, KFD's topology); addresses, ids and sizes are of the kind that such cards have.
Written by hand, and recorded from no machine.
"""

from __future__ import annotations

from pathlib import Path

RX_7900_XTX = "0x744c"
ARC_A770 = "0x56a0"
VRAM_OF_7900_XTX = 25_753_026_560
CARD_METRICS = b"\x78\x00\x01\x03"
"""120 bytes, format 1.3."""
INTEGRATED_METRICS = b"\x80\x00\x02\x02"
PCI_IDS = """\
# a comment
1002  Advanced Micro Devices, Inc. [AMD/ATI]
\t744c  Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M]
\t\t1002 0e3b  RX 7900 GRE [XFX]
\t1681  Rembrandt [Radeon 680M]
8086  Intel Corporation
\t56a0  DG2 [Arc A770]
"""


def add_card(
    root: Path, number: int, address: str, *, vendor: str, device: str, driver: str, files: dict[str, bytes]
) -> None:
    """Add a card, its connector, and its place on the PCI bus."""
    folder = root / f"sys/class/drm/card{number}/device"
    folder.mkdir(parents=True)
    (root / f"sys/class/drm/card{number}-DP-1").mkdir()
    ids = f"PCI_ID={vendor[2:].upper()}:{device[2:].upper()}"
    texts = {
        "vendor": f"{vendor}\n",
        "device": f"{device}\n",
        "uevent": f"DRIVER={driver}\nPCI_CLASS=30000\n{ids}\nPCI_SLOT_NAME={address}\n",
    }
    for name, content in {**{name: text.encode() for name, text in texts.items()}, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    bus = root / "sys/bus/pci/devices" / address
    bus.mkdir(parents=True)
    (bus / "class").write_text("0x030000\n")
    (bus / "vendor").write_text(f"{vendor}\n")


def add_amd_card(root: Path, number: int, address: str) -> None:
    """Add a Radeon RX 7900 XTX of which 1 GiB is used."""
    files = {
        "mem_info_vram_total": b"%d\n" % VRAM_OF_7900_XTX,
        "mem_info_vram_used": b"%d\n" % 2**30,
        "gpu_metrics": CARD_METRICS,
    }
    add_card(root, number, address, vendor="0x1002", device=RX_7900_XTX, driver="amdgpu", files=files)


def add_integrated_amd(root: Path, number: int, address: str) -> None:
    """Add a Radeon 680M to which the firmware gives 4 GiB."""
    files = {"mem_info_vram_total": b"%d\n" % 2**32, "gpu_metrics": INTEGRATED_METRICS}
    add_card(root, number, address, vendor="0x1002", device="0x1681", driver="amdgpu", files=files)


def add_intel(root: Path, number: int, address: str, *, driver: str, files: dict[str, bytes] | None = None) -> None:
    """Add an Arc A770; at 0000:00:02.0 it stands for an integrated GPU."""
    add_card(root, number, address, vendor="0x8086", device=ARC_A770, driver=driver, files=files or {})


def add_pci_ids(root: Path) -> None:
    """Add the list of names, where Debian has it."""
    folder = root / "usr/share/misc"
    folder.mkdir(parents=True)
    (folder / "pci.ids").write_text(PCI_IDS)


def add_kfd_node(root: Path, number: int, *, bus: int = 0, simd_count: int = 0) -> None:
    """Add a node of KFD's topology; without SIMDs it is a processor."""
    folder = root / f"sys/class/kfd/kfd/topology/nodes/{number}"
    folder.mkdir(parents=True)
    (folder / "properties").write_text(
        f"cpu_cores_count {0 if simd_count else 16}\nsimd_count {simd_count}\nlocation_id {bus << 8}\ndomain 0\n"
    )
