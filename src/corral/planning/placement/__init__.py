"""Puts services, their replicas and their models on GPUs; says why what has no place has none, on every GPU.

`planner` is the way in. What is asked for (`demand`) and what there is (`alike`) become integer programs that HiGHS
solves (`integer_program`, `solver`); their answer is placed on GPUs (`greedy`) under the rules of one place (`ledger`),
which never gives a GPU's memory twice, whatever the solver said.

Belongs here: the rules of placement, the proof of how good a plan is, reasons and cautions.
Does not belong here: reading files or machines, working out what a model needs, printing.
May import: `corral.hardware`, `corral.cluster`, `corral.figures`, `corral.units`, `corral.errors`.
"""
