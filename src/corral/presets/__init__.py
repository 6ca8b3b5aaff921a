"""Programs that serve an engine, as data: how each one starts, listens, is ready, and gives its memory back.

Belongs here: the table of presets, and the command line of a start.
Does not belong here: starting programs (`corral.processes`), when one is started or stopped.
May import: `corral.errors`.
"""
