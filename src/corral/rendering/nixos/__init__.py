"""NixOS modules of the nodes that run NixOS, and the flake that deploys them.

Belongs here: a module's content (`modules`, `drivers`), the flake (`flake`), and their text as Nix (`expressions`).
Does not belong here: a node's part in K3s, which every system shares and which is in `rendering.k3s`.
"""
