"""systemd units: Corral's server on a machine without Kubernetes, and power limits on systems other than NixOS.

Belongs here: the text of units and of their neighbours (sysusers.d), and the quoting that systemd reads.
Does not belong here: the same units in NixOS modules, which are in `rendering.nixos`.
"""
