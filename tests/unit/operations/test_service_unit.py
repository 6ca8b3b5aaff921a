"""The unit that is installed: what systemd accepts, with GPUs and home folders as the engines need them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from corral.operations.service import (
    UNIT,
    Service,
    ServiceError,
    find_unit,
    install,
    list_install_steps,
    list_uninstall_steps,
    quote,
    render_unit,
    uninstall,
)

CLOSES_GPUS = ("PrivateDevices", "ProtectClock", "DeviceAllow", "DevicePolicy", "MemoryDenyWriteExecute")


def a_service(*, system: bool, user: str = "ada") -> Service:
    folder = Path("/var/lib/corral")
    return Service(system=system, user=user, data_dir=folder, cluster_file=Path("/etc/my cluster/100%.yaml"))


@pytest.mark.parametrize("system", [False, True], ids=["user", "system"])
def test_systemd_accepts_the_unit(tmp_path: Path, system: bool) -> None:
    service = a_service(system=system, user="root")
    (tmp_path / UNIT).write_text(render_unit(service))
    scope = "--system" if system else "--user"
    verified = subprocess.run(
        ["systemd-analyze", scope, "verify", tmp_path / UNIT],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    about_ours = [line for line in (verified.stdout + verified.stderr).splitlines() if UNIT in line]
    assert about_ours == []


@pytest.mark.parametrize("system", [False, True], ids=["user", "system"])
def test_no_setting_takes_gpus_or_home_folders_away(system: bool) -> None:
    settings = [line.partition("=")[0] for line in render_unit(a_service(system=system)).splitlines()]
    assert not {*CLOSES_GPUS, "ProtectHome"} & set(settings)
    assert "Type" in settings
    assert ("NoNewPrivileges" in settings) == system, "a user's service could not make NVIDIA's devices"


def test_a_system_service_of_root_keeps_what_the_embedded_database_needs() -> None:
    assert "CapabilityBoundingSet=" not in render_unit(a_service(system=True, user="root"))
    assert "CapabilityBoundingSet=\n" in render_unit(a_service(system=True))
    assert "StateDirectoryMode=0710\n" in render_unit(a_service(system=True, user="root"))
    assert "StateDirectoryMode=0700\n" in render_unit(a_service(system=True))


@pytest.mark.parametrize(
    ("word", "written"),
    [("a", "a"), ("a b", '"a b"'), ("100%", "100%%"), ("$HOME", "$$HOME"), ('a "b"', '"a \\"b\\""'), ("", '""')],
)
def test_words_are_written_as_systemd_reads_them(word: str, written: str) -> None:
    assert quote(word) == written


def test_it_is_installed_and_removed_with_the_commands_that_a_dry_run_lists(tmp_path: Path) -> None:
    ran: list[Sequence[str]] = []
    path = find_unit(system=False, config_home=tmp_path)
    install(path, "[Unit]\n", list_install_steps(system=False), ran.append)
    assert path == tmp_path / "systemd" / "user" / UNIT
    assert path.read_text() == "[Unit]\n"
    uninstall(path, list_uninstall_steps(system=False), ran.append)
    assert not path.exists()
    assert ran == [
        ("systemctl", "--user", "daemon-reload"),
        ("systemctl", "--user", "enable", UNIT),
        ("systemctl", "--user", "restart", UNIT),
        ("systemctl", "--user", "disable", "--now", UNIT),
    ]


def test_a_service_that_cannot_be_stopped_keeps_its_unit(tmp_path: Path) -> None:
    def refuse(command: Sequence[str]) -> None:
        raise ServiceError("access denied")

    path = tmp_path / UNIT
    path.write_text("[Unit]\n")
    with pytest.raises(ServiceError):
        uninstall(path, list_uninstall_steps(system=True), refuse)
    assert path.exists()
