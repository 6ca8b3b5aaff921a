"""Carries a migration checklist out: looks, runs commands, asks, and keeps every answer with its evidence.

Belongs here: the state of a checklist, evidence from machines, from Kubernetes and from Corral's queue, its report.
Does not belong here: which items an upgrade needs (`corral.planning.checklist`), the terminal (`corral.cli`).
May import: the same as `corral.operations`.
"""
