"""Decides which task goes to which place next; a pure function of what is queued, what is free and what was measured.

Belongs here: the policy, the backlog it looks at, the reasons it gives, and the values of its questions and answers.
Does not belong here: time, I/O, randomness, the database, engines.
May import: `corral.cluster.values`, `corral.engine_kinds`, `corral.hours`, `corral.work`, `corral.units`,
`corral.errors`.
"""
