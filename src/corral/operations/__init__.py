"""Use cases over a cluster: they look at files and machines, let the pure packages decide, and act.

Belongs here: what joins readers, planners and probes into one thing that a person asks for.
Does not belong here: decisions (planning, scheduling), parsing of command lines, printing.
May import: everything but `corral.tasks` (the queue is asked through functions and protocols), `corral.client`,
`corral.server` and `corral.cli`.
"""
