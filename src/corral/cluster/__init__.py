"""The cluster file: text in, checked values out, every problem at once with line and column.

Belongs here: the file's shape, its checks, its JSON Schema.
Does not belong here: opening files, looking at hardware, filling in what only a machine knows.
May import: `corral.work`, `corral.units`, `corral.errors`.
"""
