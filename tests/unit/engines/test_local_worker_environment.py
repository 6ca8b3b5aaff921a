"""What a worker sees of its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.engines.machine_share import add_libraries, list_cuda_libraries, make_worker_environment


def test_worker_sees_the_gpu_of_its_slot_and_no_other() -> None:
    seen = make_worker_environment({"CUDA_VISIBLE_DEVICES": "0,1"}, gpus=("GPU-1234",), threads=3, mark="m")

    assert (seen["CUDA_VISIBLE_DEVICES"], seen["CUDA_DEVICE_ORDER"], seen["OMP_NUM_THREADS"]) == (
        "GPU-1234",
        "PCI_BUS_ID",
        "3",
    )


def test_worker_of_a_processor_slot_sees_no_gpu() -> None:
    assert (
        make_worker_environment({"CUDA_VISIBLE_DEVICES": "0"}, gpus=(), threads=1, mark="m")["CUDA_VISIBLE_DEVICES"]
        == ""
    )


def test_worker_cannot_download() -> None:
    assert make_worker_environment({}, gpus=(), threads=1, mark="m")["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    "name",
    ["CORRAL_DATABASE_URL", "CORRAL_TOKEN", "HF_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "my_api_key", "DSN"],
)
def test_worker_sees_no_secret_of_the_server(name: str) -> None:
    assert name not in make_worker_environment({name: "s3cret"}, gpus=(), threads=1, mark="m")


@pytest.mark.parametrize("name", ["PATH", "HOME", "LD_LIBRARY_PATH", "LANG", "XDG_CACHE_HOME", "KEYBOARD"])
def test_worker_keeps_what_programs_need(name: str) -> None:
    assert make_worker_environment({name: "x"}, gpus=(), threads=1, mark="m")[name] == "x"


def test_libraries_of_nvidias_wheels_are_found_after_those_of_the_user(tmp_path: Path) -> None:
    for name in ("cudnn/lib", "cublas/lib", "cublas/include"):
        (tmp_path / name).mkdir(parents=True)
    folders = list_cuda_libraries([tmp_path])

    assert folders == (tmp_path / "cublas/lib", tmp_path / "cudnn/lib")
    assert add_libraries({"LD_LIBRARY_PATH": "/opt/mine"}, folders)["LD_LIBRARY_PATH"] == (
        f"/opt/mine:{tmp_path}/cublas/lib:{tmp_path}/cudnn/lib"
    )
    assert "LD_LIBRARY_PATH" not in add_libraries({}, ())


@pytest.mark.parametrize(
    "value",
    [
        "ntfys://ntfy.sh/topic",
        "mailtos://ada:pw@example.org",
        "tgram://123:abc/456",
        "https://ada:pw@host/",
        "whsec_AAAA",
    ],
)
def test_what_notifies_people_and_signs_webhooks_stays_with_the_server(value: str) -> None:
    assert "PHONE" not in make_worker_environment({"PHONE": value}, gpus=(), threads=1, mark="m")


@pytest.mark.parametrize(
    "value",
    ["http://proxy:3128", "unix:///run/docker.sock", "tcp://127.0.0.1:2375", "/usr/bin:/bin", "unix:path=/run/bus", ""],
)
def test_what_programs_are_told_about_the_machine_is_theirs(value: str) -> None:
    assert make_worker_environment({"NAME": value}, gpus=(), threads=1, mark="m")["NAME"] == value
