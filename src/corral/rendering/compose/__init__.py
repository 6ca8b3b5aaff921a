"""Compose files for machines without Kubernetes.

Belongs here: the choice of a machine and GPUs for what a layout leaves open, addresses between machines, containers.
Does not belong here: facts about programs and their own configuration files, which every platform shares.
"""
