"""Decides whether a layout works on a cluster: what is looked at, what is asked from inside, and the verdict.

Belongs here: checks of objects in a snapshot, questions to containers, the judgement of their answers.
Does not belong here: talking to a cluster (`corral.kubernetes`), causes of trouble (`corral.diagnosis`), printing.
May import: `corral.diagnosis`, `corral.deploying`, `corral.rendering`, `corral.cluster`, `corral.engine_kinds`,
`corral.snapshot`, `corral.work`.
"""
