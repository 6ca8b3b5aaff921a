"""The main job: a batch from its file to its outputs in a folder, watched all the way.

Belongs here: the steps of a run, the live view, the summary, what Ctrl-C asks.
Does not belong here: following a batch and collecting its outputs (`corral.client`).
May import: `corral.cli`'s own modules, `corral.client`, `corral.weights`, `corral.data_dir` and below.
"""
