"""NixOS modules of the nodes that run NixOS.

Belongs here: a module's content (`modules`, `drivers`) and its text as Nix (`expressions`).
Does not belong here: a node's part in K3s, which every system shares and which is in `rendering.k3s`.
"""
