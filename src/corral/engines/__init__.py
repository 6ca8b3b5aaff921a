"""The programs that do the work, one module per engine, all behind `corral.work.Engine`.

Belongs here: adapters, the worker processes of local engines, what each engine accepts as inputs.
Does not belong here: which task goes where, the queue, the database.
May import: `corral.hardware`, `corral.cluster`, `corral.work`, `corral.units`, `corral.errors`.
"""
