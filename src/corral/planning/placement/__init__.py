"""Puts services, their replicas and their models on GPUs; says why what has no place has none, on every GPU.

`planner` is the way in, `search` finds the plan. First fit comes first (`greedy`, which takes the best free places from
`candidates`); a cluster in which it places everything needs no more. Else what is asked for (`demand`) and what there
is (`alike`) become integer programs that HiGHS solves (`integer_program`, `solver`), and `greedy` completes the plan.
Whatever chose a place, a replica takes it in the `ledger`, which never gives a GPU's memory twice.

Belongs here: the rules of placement, the proof of how good a plan is, reasons and cautions.
Does not belong here: reading files or machines, working out what a model needs, printing.
May import: `corral.hardware`, `corral.cluster`, `corral.figures`, `corral.units`, `corral.errors`.
"""
