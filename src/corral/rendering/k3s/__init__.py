"""K3s on the nodes of a cluster, whatever their system.

Belongs here: a node's part in K3s (`members`), shared with the NixOS modules, and the configuration files of nodes that
run other systems (`configuration`).
Does not belong here: objects of Kubernetes, which are in `rendering.kubernetes`.
"""
