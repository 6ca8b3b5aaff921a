"""The main job: a batch from its file to its outputs in a folder, watched all the way.

Belongs here: following a batch, the live view, naming and writing outputs, the summary, what Ctrl-C asks.
Does not belong here: how the server does the work; this is a client of its HTTP API.
May import: `corral.cli`'s own modules, `corral.units`, `corral.errors`.
"""
