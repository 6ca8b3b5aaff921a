"""A GPU is found however people write it: with makers, sizes, boards, and the computer that it is built into.

Each line is a spelling, the model, and its memory in GiB; `-` for a GPU that has the machine's memory.
"""

from __future__ import annotations

import pytest

from corral.hardware.catalogue import UnknownGpuError, describe, find_gpu, find_one_gpu

GIB = 2**30
SPELLINGS = """
DGX Spark | GB10 | 128
NVIDIA DGX Spark | GB10 | 128
dgx-spark | GB10 | 128
Project DIGITS | GB10 | 128
ASUS Ascent GX10 | GB10 | 128
GB10 Grace Blackwell | GB10 | 128
Strix Halo | Radeon 8060S | -
AMD Strix Halo | Radeon 8060S | -
strix-halo | Radeon 8060S | -
Ryzen AI Max+ 395 | Radeon 8060S | -
AMD Ryzen AI Max+ 395 | Radeon 8060S | -
Ryzen AI Max 395 | Radeon 8060S | -
AMD Ryzen AI Max+ 395 w/ Radeon 8060S | Radeon 8060S | -
AMD Radeon 8060S Graphics | Radeon 8060S | -
8060S | Radeon 8060S | -
Strix Halo 128GB | Radeon 8060S | 64
Ryzen AI Max 385 | Radeon 8050S | -
Ryzen AI 9 HX 370 | Radeon 890M | -
Radeon 780M | Radeon 780M | -
M4 Max | Apple M4 Max | -
Apple M4 | Apple M4 | -
Apple M1 Ultra | Apple M1 Ultra | -
M2 Ultra | Apple M2 Ultra | -
m3 pro | Apple M3 Pro | -
M5 | Apple M5 | -
Mac mini M4 Pro | Apple M4 Pro | -
Mac Studio M3 Ultra | Apple M3 Ultra | -
MacBook Pro M1 Max | Apple M1 Max | -
M4 Max 128GB | Apple M4 Max | 96
Apple M2 Ultra 192GB | Apple M2 Ultra | 144
B60 | Arc Pro B60 | 24
Intel Arc Pro B60 | Arc Pro B60 | 24
Arc Pro B50 | Arc Pro B50 | 16
B50 | Arc Pro B50 | 16
B580 | Arc B580 | 12
Intel Arc B580 Graphics | Arc B580 | 12
Intel Arc A770 16GB | Arc A770 | 16
A380 | Arc A380 | 6
Data Center GPU Flex 170 | Data Center GPU Flex 170 | 16
Intel Data Center GPU Max 1100 | Data Center GPU Max 1100 | 48
Max 1100 | Data Center GPU Max 1100 | 48
MI50 | Radeon Instinct MI50 | 16
MI50 32GB | Radeon Instinct MI50 | 32
AMD Instinct MI50 32GB | Radeon Instinct MI50 | 32
MI60 | Radeon Instinct MI60 | 32
Instinct MI100 | Radeon Instinct MI100 | 32
AMD Instinct MI300X | Radeon Instinct MI300X | 192
R9700 | Radeon AI PRO R9700 | 32
AI PRO R9700 | Radeon AI PRO R9700 | 32
AMD Radeon AI PRO R9700 | Radeon AI PRO R9700 | 32
W7900 | Radeon PRO W7900 | 48
Radeon Pro W7900 | Radeon PRO W7900 | 48
W6800 | Radeon PRO W6800 | 32
V620 | Radeon PRO V620 | 32
Radeon VII | Radeon VII | 16
7900XTX | Radeon RX 7900 XTX | 24
RX 7900 XT | Radeon RX 7900 XT | 20
AMD Radeon RX 9070 XT | Radeon RX 9070 XT | 16
9060 XT 16GB | Radeon RX 9060 XT 16 GB | 16
RX 6900XT | Radeon RX 6900 XT | 16
rx6700xt | Radeon RX 6700 XT | 12
RX580 8GB | Radeon RX 580 | 8
Sapphire RX 7900 XTX Nitro+ | Radeon RX 7900 XTX | 24
RTX 4090 48GB | RTX 4090 | 48
4090 48G | RTX 4090 | 48
RTX 2080 Ti 22GB | RTX 2080 Ti | 22
2080ti 22g | RTX 2080 Ti | 22
RTX 3080 20GB | RTX 3080 | 20
RTX 3070 16GB | RTX 3070 | 16
RTX 3080 10GB | RTX 3080 | 10
RTX 3080 12GB | RTX 3080 12 GB | 12
RTX 4080 SUPER | RTX 4080 SUPER | 16
4070TiS | RTX 4070 Ti SUPER | 16
4070 Ti Super | RTX 4070 Ti SUPER | 16
RTX 5090 D | RTX 5090 D | 32
RTX 4090D | RTX 4090 D | 24
RTX 5090 Laptop GPU | RTX 5090 Mobile | 24
RTX 4060 Laptop | RTX 4060 Mobile | 8
rtx3090 | RTX 3090 | 24
RTX_3090 | RTX 3090 | 24
RTX 3090Ti | RTX 3090 Ti | 24
RTX3060-12GB | RTX 3060 12 GB | 12
5060 Ti 16GB | RTX 5060 Ti 16 GB | 16
4060ti 8gb | RTX 4060 Ti 8 GB | 8
GTX 1080 Ti | GTX 1080 Ti | 11
GTX 1060 6GB | GTX 1060 6 GB | 6
GTX 1660 SUPER | GTX 1660 SUPER | 6
NVIDIA GeForce RTX 3090 24GB | RTX 3090 | 24
GeForce RTX 3090 Founders Edition | RTX 3090 | 24
MSI GeForce RTX 4090 SUPRIM X 24G | RTX 4090 | 24
EVGA RTX 3090 FTW3 | RTX 3090 | 24
Gigabyte RTX 3060 Gaming OC 12G | RTX 3060 12 GB | 12
Zotac 4070 Ti Super | RTX 4070 Ti SUPER | 16
PNY RTX A4000 | RTX A4000 | 16
RTX A6000 | RTX A6000 | 48
A5000 | RTX A5000 | 24
RTX A2000 12GB | RTX A2000 12 GB | 12
RTX 6000 Ada | RTX 6000 Ada Generation | 48
RTX 6000 48GB | RTX 6000 Ada Generation | 48
RTX 4000 SFF Ada | RTX 4000 SFF Ada Generation | 20
RTX PRO 6000 Blackwell Max-Q Workstation Edition | RTX PRO 6000 Blackwell Max-Q | 96
RTX PRO 6000 Blackwell Server Edition | RTX PRO 6000 Blackwell Server | 96
RTX PRO 4500 | RTX PRO 4500 Blackwell | 32
Quadro RTX 8000 | Quadro RTX 8000 | 48
P5000 | Quadro P5000 | 16
T1000 8GB | T1000 8 GB | 8
Tesla P40 | Tesla P40 | 24
P40 24GB | Tesla P40 | 24
T4 | Tesla T4 | 16
Tesla P100-PCIE-16GB | Tesla P100 PCIe 16 GB | 16
Tesla V100-SXM2-32GB | Tesla V100 SXM2 32 GB | 32
M40 24GB | Tesla M40 24 GB | 24
A100-SXM4-80GB | A100 SXM4 80 GB | 80
NVIDIA A100-PCIE-40GB | A100 PCIe 40 GB | 40
H100 NVL | H100 NVL 94 GB | 94
L40S | L40S | 48
A10 | A10 PCIe | 24
Jetson Orin Nano 8GB | Jetson Orin Nano 8 GB | 8
Orin Nano 8GB | Jetson Orin Nano 8 GB | 8
Jetson Orin Nano Super | Jetson Orin Nano Super | 8
NVIDIA Jetson AGX Orin 64GB | Jetson AGX Orin 64 GB | 64
AGX Orin 32GB | Jetson AGX Orin 32 GB | 32
Jetson Orin NX 16GB | Jetson Orin NX 16 GB | 16
Jetson AGX Thor | Jetson T5000 | 128
TITAN RTX | TITAN RTX | 24
"""
ROWS = [tuple(field.strip() for field in line.split("|")) for line in SPELLINGS.strip().splitlines()]


@pytest.mark.parametrize(("spelling", "model", "memory"), ROWS)
def test_a_gpu_is_found_as_people_write_it(spelling: str, model: str, memory: str) -> None:
    gpu = find_one_gpu(spelling)
    assert (gpu.name, gpu.memory) == (model, 0 if memory == "-" else int(memory) * GIB)


def test_the_table_has_the_makers_and_families_that_people_own() -> None:
    assert len(ROWS) > 100
    assert {find_one_gpu(spelling).vendor for spelling, _, _ in ROWS} == {"NVIDIA", "AMD", "Intel", "Apple"}


def test_memory_that_was_soldered_on_counts_and_the_catalogue_is_named_next_to_it() -> None:
    assert describe(find_one_gpu("RTX 4090 48GB")) == "RTX 4090 (48.0 GiB, the catalogue's has 24.0 GiB, 450 W)"
    assert find_one_gpu("RTX 4090 24GB").catalogue_memory is None


@pytest.mark.parametrize("text", ["RTX 3090 SUPER", "ASUS RTX 3090 SUPER", "RX 7900 Ti", "M5 Ultra"])
def test_a_word_of_another_model_is_not_dropped(text: str) -> None:
    with pytest.raises(UnknownGpuError):
        find_gpu(text)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("RTX 50700 Ti", "RTX 5070 Ti"),
        ("RTX 5O90", "RTX 5090"),
        ("RXT 3090", "RTX 3090"),
        ("2x RTX 3090", "RTX 3090"),
        ("Radeon RX 7900 XTXX", "Radeon RX 7900 XTX"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_near_one(text: str, near: str) -> None:
    with pytest.raises(UnknownGpuError) as caught:
        find_gpu(text)
    assert f"`{near}`" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["RTX 7090", "R9800", "Gaudi 3", "banana", "GH200", "TPU v5e"])
def test_a_name_that_nothing_is_near_to_is_answered_without_a_guess(text: str) -> None:
    with pytest.raises(UnknownGpuError) as caught:
        find_gpu(text)
    assert "did you mean" not in (caught.value.hint or "")
