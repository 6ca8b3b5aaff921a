"""The systemd unit that sets power limits at each start of a machine."""

from __future__ import annotations

POWER_LIMIT_UNIT = "gpu-power-limit"
"""The name that `corral render` gives it too: a machine has one of them."""


def power_limit_unit(limits_w: tuple[tuple[int, int], ...], *, nixos: bool) -> str:
    """Write the unit: as a NixOS option, or as a file for `/etc/systemd/system/`."""
    return _nixos(limits_w) if nixos else _file(limits_w)


def _file(limits_w: tuple[tuple[int, int], ...]) -> str:
    starts = "\n".join(f"ExecStart=/usr/bin/nvidia-smi -i {index} -pl {watts}" for index, watts in limits_w)
    return f"""\
# /etc/systemd/system/{POWER_LIMIT_UNIT}.service, then: sudo systemctl enable --now {POWER_LIMIT_UNIT}
[Unit]
Description=Power limits of the GPUs
Wants=nvidia-persistenced.service
After=nvidia-persistenced.service

[Service]
Type=oneshot
RemainAfterExit=yes
{starts}

[Install]
WantedBy=multi-user.target"""


def _nixos(limits_w: tuple[tuple[int, int], ...]) -> str:
    smi = "${config.hardware.nvidia.package.bin}/bin/nvidia-smi"
    starts = "\n".join(f'      "{smi} -i {index} -pl {watts}"' for index, watts in limits_w)
    return f"""\
hardware.nvidia.nvidiaPersistenced = true;
systemd.services.{POWER_LIMIT_UNIT} = {{
  description = "Power limits of the GPUs";
  wantedBy = [ "multi-user.target" ];
  wants = [ "nvidia-persistenced.service" ];
  after = [ "nvidia-persistenced.service" ];
  serviceConfig = {{
    Type = "oneshot";
    RemainAfterExit = true;
    ExecStart = [
{starts}
    ];
  }};
}};"""
